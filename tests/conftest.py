"""For all tests: how long generated inputs are tried."""

from hypothesis import settings

settings.register_profile("fuzz", max_examples=5_000, deadline=None)
"""`make fuzz`: for the parsers, in place of the hundred examples of `make test`."""
