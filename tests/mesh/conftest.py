"""Makes `mesh_testing` importable, and network namespaces for those who need one."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mesh_testing.pair import linked_namespaces


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Two linked network namespaces: what leaves the one and what enters the other is led to a proxy."""
    with linked_namespaces() as names:
        yield names


@pytest.fixture
def network_namespace() -> Iterator[str]:
    name = f"mesh-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
