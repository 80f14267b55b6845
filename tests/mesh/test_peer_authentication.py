"""Which mode holds at a port: workload before namespace before mesh, STRICT if nobody says."""

import pytest
from mesh_testing.objects import configuration, pod

from hauberk.mesh.peer_authentication import (
    Mode,
    merge_peer_authentications,
    select_peer_authentications,
)
from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import SECURITY, Labels, Mesh, Registry
from hauberk.mesh.serve_files import dump
from hauberk.mesh.snapshot import Snapshot


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


def test_a_slow_caller_is_waited_for_where_no_server_speaks_first() -> None:
    def timeout(**told: object) -> tuple[bool, bool]:
        objects = [configuration("PeerAuthentication", "default", told), pod("web-1", "10.66.0.7", app="web")]
        proxy = Proxy(ProxyKind.SIDECAR, "default", "web-1", "10.66.0.7", Labels.of({"app": "web"}), "web")
        inbound = next(
            one
            for one in dump(Snapshot(Registry().update(objects)), proxy)["LDS"]
            if one["name"] == "virtualInbound"
        )
        return "listener_filters_timeout" in inbound, "continue_on_listener_filters_timeout" in inbound

    workload = {"selector": {"matchLabels": {"app": "web"}}}
    assert timeout(mtls={"mode": "STRICT"}) == (False, False)
    assert timeout(mtls={"mode": "PERMISSIVE"}) == (True, True)
    assert timeout(**workload, portLevelMtls={"80": {"mode": "DISABLE"}}) == (True, True)
