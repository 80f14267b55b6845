"""Makes `mesh_testing` importable, and network namespaces for those who need one."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mesh_testing.envoy import envoy
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.running import StartProxy
from mesh_testing.two_hops import linked_namespaces


@pytest.fixture(params=[envoy, hauberk_proxy], ids=["envoy", "hauberk"])
def start_proxy(request: pytest.FixtureRequest) -> StartProxy:
    """Each test that takes this runs with a real Envoy and with our proxy, and says the same of both."""
    start: StartProxy = request.param
    return start


@pytest.fixture
def network_namespace() -> Iterator[str]:
    name = f"mesh-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    with linked_namespaces() as namespaces:
        yield namespaces
