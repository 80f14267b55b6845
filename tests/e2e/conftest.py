"""Makes `instance_testing` importable, and a small mesh for a module's tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from instance_testing.instance import TestInstance, instance

MANIFESTS = Path(__file__).with_name("manifests")


@pytest.fixture(scope="module")
def mesh() -> Iterator[TestInstance]:
    """An instance that runs all of `manifests`."""
    with instance() as found:
        found.said("up", "-d", str(MANIFESTS), timeout=120)
        yield found
