"""TLS toward destinations outside the mesh with certificates of Secrets, in a real Envoy and in our proxy."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from mesh_testing.backends import Front, free_port, front, virtual_service
from mesh_testing.certificates import Issuer, secret, tls_secret
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration, endpoint_slice, service
from mesh_testing.running import StartProxy

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from hauberk.mesh.serialization import CLUSTER, SECRET
from hauberk.mesh.snapshot import Snapshot

ADDRESS = "127.0.0.6"


@asynccontextmanager
async def secure_program(issuer: Issuer, folder: Path, port: int) -> AsyncIterator[None]:
    """Answers whom it sees: the name in the caller's certificate, and the server name that was asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain, key = issuer.pair("secure.example")
    certificate = folder / "server.pem"
    certificate.write_bytes(chain + key)
    context.load_cert_chain(certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=issuer.pem.decode())
    asked: list[str | None] = [None]

    def note(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        asked[0] = name

    context.sni_callback = note

    async def answer(request: web.Request) -> web.Response:
        shown = request.transport.get_extra_info("peercert") if request.transport else None
        caller = shown["subject"][0][0][1] if shown else None
        return web.json_response({"caller": caller, "asked": asked[0]})

    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, ADDRESS, port, ssl_context=context).start()
    try:
        yield
    finally:
        await runner.cleanup()


def rule(**tls: Any) -> dict[str, Any]:
    """Each request has a connection of its own: those that are there go on when a Secret changes."""
    pool = {"http": {"maxRequestsPerConnection": 1}}
    spec = {"host": "secure", "trafficPolicy": {"tls": tls, "connectionPool": pool}}
    return configuration("DestinationRule", "secure", spec)


@asynccontextmanager
async def calling(
    start_proxy: StartProxy, folder: Path, issuer: Issuer, *objects: dict[str, Any]
) -> AsyncIterator[Front]:
    port = free_port()
    facts = [
        service("secure", address="10.96.0.30", http=443),
        endpoint_slice("secure", [ADDRESS], http=port),
        virtual_service({"retries": {"attempts": 0}, "route": [{"destination": {"host": "secure"}}]}),
        *objects,
    ]
    async with secure_program(issuer, folder, port), front(start_proxy, facts, folder) as gateway:
        yield gateway


async def answered(gateway: Front, status: int) -> dict[str, Any]:
    async def asked() -> dict[str, Any] | None:
        found, body, _ = await gateway.get()
        return body if found == status else None

    body: dict[str, Any] = await eventually(asked)
    return body


async def test_the_server_is_checked(start_proxy: StartProxy, tmp_path: Path) -> None:
    issuer = Issuer()
    simple = {"mode": "SIMPLE", "sni": "secure.example", "credentialName": "trust"}
    async with calling(
        start_proxy, tmp_path, issuer, rule(**simple), secret("trust", ca_crt=issuer.pem)
    ) as gateway:
        assert await answered(gateway, 200) == {"caller": None, "asked": "secure.example"}
        gateway.publish(rule(**simple, subjectAltNames=["other.example"]))
        await answered(gateway, 503)
        gateway.publish(rule(**simple, subjectAltNames=["other.example", "secure.example"]))
        await answered(gateway, 200)
        gateway.publish(secret("trust", ca_crt=Issuer().pem))
        await answered(gateway, 503)
        gateway.publish(rule(**simple, insecureSkipVerify=True))
        await answered(gateway, 200)
        gateway.publish(rule(mode="SIMPLE", subjectAltNames=["secure.example"]))
        await answered(gateway, 503)


async def test_the_caller_shows_a_certificate_of_a_secret(start_proxy: StartProxy, tmp_path: Path) -> None:
    issuer = Issuer()
    mutual = rule(mode="MUTUAL", credentialName="own", sni="secure.example")
    trust = secret("own-cacert", ca_crt=issuer.pem)
    async with calling(start_proxy, tmp_path, issuer, mutual, trust) as gateway:
        assert (await gateway.get())[0] == 503, "the Secret is not there yet"
        gateway.publish(tls_secret("own", issuer.pair("first")))
        assert (await answered(gateway, 200))["caller"] == "first"
        gateway.publish(tls_secret("own", issuer.pair("second")))

        async def renewed() -> bool:
            return bool((await gateway.get())[1].get("caller") == "second")

        await eventually(renewed)


def test_a_secret_is_for_the_pods_that_its_rule_chooses() -> None:
    issuer = Issuer()
    spec = {
        "host": "secure",
        "workloadSelector": {"matchLabels": {"app": "chosen"}},
        "trafficPolicy": {"tls": {"mode": "MUTUAL", "credentialName": "own"}},
    }
    general = {"host": "secure", "trafficPolicy": {"tls": {"mode": "MUTUAL", "credentialName": "own"}}}
    facts = [
        service("secure", address="10.96.0.30", http=443),
        endpoint_slice("secure", [ADDRESS], http=8443),
        tls_secret("own", issuer.pair("own")),
        secret("own-cacert", ca_crt=issuer.pem),
    ]

    def seen(rules: list[dict[str, Any]], namespace: str = "default", **labels: str) -> tuple[list[str], int]:
        """The Secrets that a pod's proxy is given, and the size of the service's cluster."""
        snapshot = Snapshot(Registry().update([*facts, *rules]))
        proxy = Proxy(ProxyKind.SIDECAR, namespace, "p", "10.66.0.9", Labels.of(labels), "default")
        resources = snapshot.resources(proxy)
        cluster = resources.of(CLUSTER).get("outbound|443||secure.default.svc.cluster.local")
        return sorted(resources.of(SECRET)), len(cluster.any) if cluster else 0

    chosen = [configuration("DestinationRule", "chosen", spec)]
    both = ["kubernetes://default/own", "kubernetes://default/own-cacert-cacert"]
    assert seen(chosen, app="chosen")[0] == both
    assert seen(chosen, app="other")[0] == []
    assert seen(chosen, "elsewhere", app="chosen")[0] == []
    everyone = [configuration("DestinationRule", "everyone", general)]
    assert seen(everyone, app="chosen")[0] == [], "a rule for all pods gives none of them a key"
    plain = [configuration("DestinationRule", "plain", {"host": "secure"})]
    assert seen([*plain, *chosen], app="chosen")[0] == both, (
        "what selects the pod comes before what is for all"
    )
    assert seen([*plain, *chosen], app="other") == seen(plain, app="other")
