"""What AuthorizationPolicy and PeerAuthentication let through, as Istio documents it, between two proxies."""

from pathlib import Path
from typing import Any

import pytest
from mesh_testing.running import StartProxy
from mesh_testing.two_hops import CLIENT, IDENTITIES, SERVER, VIRTUAL, TwoHops, two_hops

pytestmark = pytest.mark.root

WEB = f"http://{VIRTUAL}"
FRONT = IDENTITIES["front"].removeprefix("spiffe://")
POST = ("-X", "POST", WEB)


def source(**fields: list[str]) -> dict[str, Any]:
    return {"from": [{"source": fields}]}


def operation(**fields: list[str]) -> dict[str, Any]:
    return {"to": [{"operation": fields}]}


def when(key: str, **values: list[str]) -> dict[str, Any]:
    return {"when": [{"key": key, **values}]}


Calls = list[tuple[str, ...]]
# A rule; what it matches; what it does not match. Each call is what curl is told.
RULES: list[tuple[str, dict[str, Any], Calls, Calls]] = [
    ("principals", source(principals=[FRONT]), [(WEB,)], []),
    ("another principal", source(principals=["cluster.local/ns/default/sa/x"]), [], [(WEB,)]),
    ("principals by prefix", source(principals=["cluster.local/ns/default/*"]), [(WEB,)], []),
    ("notPrincipals", source(notPrincipals=[FRONT]), [], [(WEB,)]),
    ("namespaces", source(namespaces=["default"]), [(WEB,)], []),
    ("another namespace", source(namespaces=["bank"]), [], [(WEB,)]),
    ("notNamespaces", source(notNamespaces=["bank"]), [(WEB,)], []),
    ("ipBlocks", source(ipBlocks=[f"{CLIENT}/32"]), [(WEB,)], []),
    ("another block", source(ipBlocks=["10.1.0.0/16"]), [], [(WEB,)]),
    ("notIpBlocks", source(notIpBlocks=["10.66.0.0/16"]), [], [(WEB,)]),
    ("methods", operation(methods=["GET"]), [(WEB,)], [POST]),
    ("notMethods", operation(notMethods=["GET"]), [POST], [(WEB,)]),
    ("hosts", operation(hosts=["web.default"]), [("-H", "host: WEB.default", WEB)], [(WEB,)]),
    ("ports", operation(ports=["8080"]), [(WEB,)], []),
    ("another port", operation(ports=["80"]), [], [(WEB,)]),
    (
        "paths",
        operation(paths=["/a", "/open/*", "*.png"]),
        [(f"{WEB}/a",), (f"{WEB}/a?q=1",), (f"{WEB}/open/x",), (f"{WEB}/deep/x.png",)],
        [(f"{WEB}/",), (f"{WEB}/ab",), (f"{WEB}/open",)],
    ),
    (
        "one place by its other names",
        operation(paths=["/admin/*"]),
        [
            ("--path-as-is", f"{WEB}{path}")
            for path in ("/%61dmin/x", "/y/../admin/x", "/y/%2e%2e/admin/x", "/./admin/x", "/y/.%2E/admin/x")
        ],
        [("--path-as-is", f"{WEB}/y/%2e/admin/x")],
    ),
    ("notPaths", operation(notPaths=["/shut*"]), [(f"{WEB}/open",)], [(f"{WEB}/shut/door",)]),
    (
        "request.headers",
        when("request.headers[x-token]", values=["admin", "dev*"]),
        # A byte that is no text (a lone 0xE9) hides nothing.
        [("-H", f"x-token: {token}", WEB) for token in ("admin", "dev-7", "dev\udce9")],
        [("-H", "x-token: user", WEB), (WEB,)],
    ),
    (
        "request.headers by notValues",
        when("request.headers[x-token]", notValues=["admin"]),
        [("-H", "x-token: user", WEB)],
        [("-H", "x-token: admin", WEB)],
    ),
    ("source.principal", when("source.principal", values=[FRONT]), [(WEB,)], []),
    ("source.namespace", when("source.namespace", notValues=["default"]), [], [(WEB,)]),
    ("source.ip", when("source.ip", values=[CLIENT]), [(WEB,)], []),
    ("destination.port", when("destination.port", values=["9999"]), [], [(WEB,)]),
    (
        "all parts of a rule together",
        source(principals=[FRONT]) | operation(methods=["GET"]) | when("source.ip", values=[CLIENT]),
        [(WEB,)],
        [POST],
    ),
]


async def test_every_field_of_a_rule(start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]) -> None:
    """Under ALLOW what matches passes and the rest does not; under DENY it is the other way round."""
    async with two_hops(start_proxy, pair, tmp_path) as mesh:
        await mesh.answers("200", WEB)
        for name, rule, matching, other in RULES:
            for action, passing, refused in (("ALLOW", matching, other), ("DENY", other, matching)):
                mesh.publish("AuthorizationPolicy", "web", {"action": action, "rules": [rule]})
                try:
                    for call in refused:
                        assert "RBAC: access denied" in await mesh.answers("403", *call)
                    for call in passing:
                        await mesh.answers("200", *call)
                except AssertionError as error:
                    raise AssertionError(f"{action} {name}: {error}") from error


async def test_how_policies_go_together(
    start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]
) -> None:
    async with two_hops(start_proxy, pair, tmp_path) as mesh:
        await mesh.answers("200", WEB)
        mesh.publish("AuthorizationPolicy", "nothing", {})
        await mesh.answers("403", WEB)
        mesh.publish("AuthorizationPolicy", "open", {"rules": [operation(paths=["/open*"])]})
        await mesh.answers("200", f"{WEB}/open")
        await mesh.answers("403", WEB)
        refusal = {"action": "DENY", "rules": [operation(methods=["POST"])]}
        mesh.publish("AuthorizationPolicy", "deny", refusal)
        await mesh.answers("403", "-X", "POST", f"{WEB}/open")
        await mesh.answers("200", f"{WEB}/open")
        mesh.withdraw("AuthorizationPolicy", "open")
        await mesh.answers("403", f"{WEB}/open")
        mesh.withdraw("AuthorizationPolicy", "nothing")
        await mesh.answers("200", WEB)
        await mesh.answers("403", *POST)


async def test_bytes_are_judged_by_who_sends_them(
    start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]
) -> None:
    """At a TCP port a rule about HTTP never allows, and denies by the rest of it."""
    tcp = f"{WEB}:81"
    async with two_hops(start_proxy, pair, tmp_path) as mesh:
        await mesh.answers("200", tcp)
        mesh.publish("AuthorizationPolicy", "web", {"rules": [source(principals=["cluster.local/*"])]})
        await mesh.answers("200", tcp)
        mesh.publish("AuthorizationPolicy", "web", {"rules": [source(namespaces=["bank"])]})
        await mesh.answers("000", tcp)
        mesh.publish("AuthorizationPolicy", "web", {"rules": [operation(ports=["8081"])]})
        await mesh.answers("200", tcp)
        mesh.publish("AuthorizationPolicy", "web", {"rules": [operation(methods=["GET"])]})
        await mesh.answers("000", tcp)
        http_only = operation(methods=["POST"]) | source(principals=[FRONT])
        mesh.publish("AuthorizationPolicy", "web", {"action": "DENY", "rules": [http_only]})
        await mesh.answers("200", WEB)
        await mesh.answers("000", tcp)


async def test_permissive_and_strict(start_proxy: StartProxy, tmp_path: Path, pair: tuple[str, str]) -> None:
    plain = f"http://{SERVER}:8080"

    async def mode(mesh: TwoHops, mode: str, **ports: str) -> None:
        spec: dict[str, Any] = {"mtls": {"mode": mode}}
        if ports:
            spec["selector"] = {"matchLabels": {"app": "web"}}
            spec["portLevelMtls"] = {name.removeprefix("p"): {"mode": each} for name, each in ports.items()}
        mesh.publish("PeerAuthentication", "web", spec)

    async with two_hops(start_proxy, pair, tmp_path) as mesh:
        assert IDENTITIES["front"] in await mesh.answers("200", WEB)
        await mesh.answers("000", plain)
        await mode(mesh, "PERMISSIVE")
        assert (await mesh.answers("200", plain)).split(" ") == [CLIENT, "None"]
        assert IDENTITIES["front"] in await mesh.answers("200", WEB), "mutual TLS all the same"
        mesh.publish("AuthorizationPolicy", "web", {"rules": [source(principals=["*"])]})
        await mesh.answers("403", plain)
        assert IDENTITIES["front"] in await mesh.answers("200", WEB)
        mesh.withdraw("AuthorizationPolicy", "web")
        await mesh.answers("200", plain)
        await mode(mesh, "STRICT")
        await mesh.answers("000", plain)
        assert IDENTITIES["front"] in await mesh.answers("200", WEB)
        await mode(mesh, "STRICT", p8080="PERMISSIVE")
        await mesh.answers("200", plain)
        await mode(mesh, "PERMISSIVE", p8080="STRICT")
        await mesh.answers("000", plain)
