"""Which mode holds at a port: workload before namespace before mesh, STRICT if nobody says."""

import pytest
from mesh_testing.objects import configuration

from hauberk.mesh.peer_authentication import (
    Mode,
    merge_peer_authentications,
    select_peer_authentications,
)
from hauberk.mesh.registry import SECURITY, Labels, Mesh, Registry


def mode(port: int, *policies: tuple[str, dict[str, object]]) -> Mode:
    objects = [
        configuration("PeerAuthentication", f"p{index}", spec, namespace)
        for index, (namespace, spec) in enumerate(policies)
    ]
    found = Registry().update(objects).of_kind(SECURITY, "PeerAuthentication")
    chosen = select_peer_authentications(found, "a", Labels.of({"app": "web"}), Mesh())
    return merge_peer_authentications(chosen).at(port)


MESH = ("istio-system", {"mtls": {"mode": "PERMISSIVE"}})
NAMESPACE = ("a", {"mtls": {"mode": "DISABLE"}})
UNSET = ("a", {"mtls": {"mode": "UNSET"}})
WORKLOAD = (
    "a",
    {
        "selector": {"matchLabels": {"app": "web"}},
        "mtls": {"mode": "STRICT"},
        "portLevelMtls": {"80": {"mode": "DISABLE"}},
    },
)
WORKLOAD_UNSET = (
    "a",
    {"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": {"80": {"mode": "UNSET"}}},
)
OTHER = ("a", {"selector": {"matchLabels": {"app": "db"}}, "mtls": {"mode": "DISABLE"}})


@pytest.mark.parametrize(
    ("policies", "port", "expected"),
    [
        ((), 80, Mode.STRICT),
        ((MESH,), 80, Mode.PERMISSIVE),
        ((MESH, NAMESPACE), 80, Mode.DISABLE),
        ((MESH, UNSET), 80, Mode.PERMISSIVE),
        ((MESH, NAMESPACE, WORKLOAD), 81, Mode.STRICT),
        ((MESH, NAMESPACE, WORKLOAD), 80, Mode.DISABLE),
        ((MESH, WORKLOAD_UNSET), 80, Mode.PERMISSIVE),
        ((MESH, OTHER), 80, Mode.PERMISSIVE),
        ((("b", {"mtls": {"mode": "DISABLE"}}),), 80, Mode.STRICT),
    ],
)
def test_levels(policies: tuple[tuple[str, dict[str, object]], ...], port: int, expected: Mode) -> None:
    assert mode(port, *policies) is expected
