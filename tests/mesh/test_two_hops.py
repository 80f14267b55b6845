"""Two proxies as sidecars: interception, identities checked on both sides, policy at each request."""

import asyncio
from pathlib import Path

import pytest
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.running import StartProxy
from mesh_testing.two_hops import CLIENT, IDENTITIES, SERVER, VIRTUAL, program, two_hops

pytestmark = pytest.mark.root


async def test_mutual_tls_and_policy(start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]) -> None:
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
    async with two_hops(start_proxy, pair, tmp_path, policy) as mesh:
        status, body = await mesh.call(f"http://{VIRTUAL}/open/door")
        assert status == "200", [one.log.read_text()[-900:] for one in (mesh.front, mesh.web)]
        address, _, caller = body.partition(" ")
        assert address == CLIENT, "the program sees the true caller"
        assert IDENTITIES["front"] in caller
        assert (await mesh.call(f"http://{VIRTUAL}/shut"))[0] == "403"
        status, body = await mesh.call(f"http://{VIRTUAL}:82/open/door")
        assert (status, IDENTITIES["front"] in body) == ("200", True), "a port whose protocol is detected"
        assert (await mesh.call("http://10.96.0.99/open/door"))[0] == "000", "no such service"
        assert (await mesh.call(f"http://{SERVER}:8080/open/door"))[0] == "000", "STRICT refuses plain text"


async def test_an_audited_call_is_served_and_named_in_the_access_log(
    start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]
) -> None:
    """Nothing is refused, and the log says which policy it was."""
    audit = configuration(
        "AuthorizationPolicy",
        "watch",
        {
            "selector": {"matchLabels": {"app": "web"}},
            "action": "AUDIT",
            "rules": [{"to": [{"operation": {"paths": ["/vault/*"]}}]}],
        },
    )
    async with two_hops(start_proxy, pair, tmp_path, audit) as mesh:
        for path in ("/open", "/vault/7"):
            assert (await mesh.call(f"http://{VIRTUAL}{path}"))[0] == "200"
        expected = {"/open": None, "/vault/7": "ns[default]-policy[watch]-rule[0]"}
        await eventually(
            lambda: {one["path"]: one["audit_policy"] for one in mesh.web.accesses()} == expected
        )


async def test_http2_between_the_proxies_leaves_the_program_at_http1(
    start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]
) -> None:
    upgrade = {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}}
    rule = configuration("DestinationRule", "web", {"host": "web", "trafficPolicy": upgrade})
    async with two_hops(start_proxy, pair, tmp_path, rule) as mesh:
        status, body = await mesh.call(f"http://{VIRTUAL}/")
        assert (status, IDENTITIES["front"] in body) == ("200", True), body


async def test_a_mail_server_that_speaks_first_behind_a_port_without_a_name(
    start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]
) -> None:
    """SMTP's server greets first: whoever waited for the client's first bytes would wait for ever."""
    smtp = [
        service("post", address="10.96.0.2", **{"": 2525}),
        endpoint_slice("post", [SERVER], **{"": 2525}),
        pod("web-1", SERVER, account="web", app="web"),
    ]
    letter = tmp_path / "letter"
    letter.write_text("Subject: hello\r\n\r\nthrough two proxies\r\n")
    server = ("-m", "aiosmtpd", "-n", "-l", "0.0.0.0:2525")
    async with two_hops(start_proxy, pair, tmp_path, *smtp) as mesh, program(pair[1], *server) as process:
        sender = ("--mail-from", "a@bank.example", "--mail-rcpt", "b@bank.example")
        await mesh.answers("250", "smtp://10.96.0.2:2525", *sender, "--upload-file", str(letter))
        assert process.stdout
        while (line := await asyncio.wait_for(process.stdout.readline(), 5)) != b"through two proxies\n":
            assert line, "the server ended"
