"""Two proxies in the sidecars' places: interception, identities checked on both sides, policy at each request."""

from pathlib import Path

import pytest
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.pair import CLIENT, IDENTITIES, SERVER, VIRTUAL, call, two_hops

from hauberk.mesh.registry import Registry

pytestmark = pytest.mark.root


async def test_mutual_tls_and_policy(tmp_path: Path, pair: tuple[str, str]) -> None:
    client, _ = pair
    policy = configuration(
        "AuthorizationPolicy",
        "web",
        {
            "selector": {"matchLabels": {"app": "web"}},
            "rules": [
                {
                    "from": [{"source": {"principals": ["cluster.local/ns/default/sa/front"]}}],
                    "to": [{"operation": {"paths": ["/open/*"]}}],
                }
            ],
        },
    )
    registry = Registry().update(
        [
            service("web", address=VIRTUAL, http=80, x=82),
            endpoint_slice("web", [SERVER], http=8080, x=8080),
            pod("front-1", CLIENT, account="front", app="front"),
            pod("web-1", SERVER, account="web", ports={"http": 8080}, app="web"),
            policy,
        ]
    )
    async with two_hops(registry, tmp_path, pair) as proxies:
        logs = [proxies.front.log, proxies.web.log]
        status, body = await call(client, f"http://{VIRTUAL}/open/door")
        assert status == "200", [log.read_text()[-900:] for log in logs]
        address, _, caller = body.partition(" ")
        assert address == CLIENT, "the program sees the true caller"
        assert IDENTITIES["front"] in caller
        assert (await call(client, f"http://{VIRTUAL}/shut"))[0] == "403"
        status, body = await call(client, f"http://{VIRTUAL}:82/open/door")
        assert (status, IDENTITIES["front"] in body) == ("200", True), "a port whose protocol is detected"
        assert (await call(client, "http://10.96.0.99/open/door"))[0] == "000", "no such service"
        assert (await call(client, f"http://{SERVER}:8080/open/door"))[0] == "000", (
            "STRICT refuses plain text"
        )


@pytest.mark.parametrize("ours", [False, True], ids=["envoy", "hauberk"])
async def test_an_audited_call_is_served_and_named_in_the_access_log(
    tmp_path: Path, pair: tuple[str, str], ours: bool
) -> None:
    """Nothing is refused, and the log says which policy it was."""
    client, _ = pair
    audit = configuration(
        "AuthorizationPolicy",
        "watch",
        {
            "selector": {"matchLabels": {"app": "web"}},
            "action": "AUDIT",
            "rules": [{"to": [{"operation": {"paths": ["/vault/*"]}}]}],
        },
    )
    registry = Registry().update(
        [
            service("web", address=VIRTUAL, http=80),
            endpoint_slice("web", [SERVER], http=8080),
            pod("front-1", CLIENT, account="front", app="front"),
            pod("web-1", SERVER, account="web", ports={"http": 8080}, app="web"),
            audit,
        ]
    )
    async with two_hops(registry, tmp_path, pair, ours=ours) as proxies:
        for path in ("/open", "/vault/7"):
            assert (await call(client, f"http://{VIRTUAL}{path}"))[0] == "200"
        expected = {"/open": None, "/vault/7": "ns[default]-policy[watch]-rule[0]"}
        await eventually(
            lambda: {one["path"]: one["audit_policy"] for one in proxies.web.accesses()} == expected
        )
