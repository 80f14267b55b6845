"""How long a run is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    rounds: int
    """Every subject is measured so many times, all of them in turn."""
    seconds: int
    """Of load as fast as it is answered, a round and subject; as long again at the fixed rate."""
    rate: int
    """Requests a second for latencies: below what the slowest subject answers."""
    pushes: int
    """Changes of an endpoint that the control plane is measured over."""


FULL = Settings(rounds=5, seconds=2, rate=1000, pushes=50)
QUICK = Settings(rounds=1, seconds=1, rate=500, pushes=5)
