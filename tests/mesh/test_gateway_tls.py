"""Certificates of Secrets at a gateway: who gets them, and how curl and openssl see them in both proxies."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from mesh_testing.backends import GATEWAY, free_port, front
from mesh_testing.certificates import Issuer, secret, tls_secret
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.running import StartProxy

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from hauberk.mesh.serialization import LISTENER, SECRET
from hauberk.mesh.snapshot import Snapshot
from hauberk.model.credential import Credential, parse_secret


def server(port: int, host: str, protocol: str = "HTTPS", **tls: Any) -> dict[str, Any]:
    return {"port": {"number": port, "name": f"p{port}", "protocol": protocol}, "hosts": [host], "tls": tls}


def gateway(*servers: dict[str, Any], name: str = "secure", namespace: str = "default") -> dict[str, Any]:
    spec = {"selector": {"istio": "ingressgateway"}, "servers": list(servers)}
    return configuration("Gateway", name, spec, namespace)


def routed(*hosts: str) -> dict[str, Any]:
    spec = {
        "hosts": list(hosts),
        "gateways": ["secure"],
        "http": [{"route": [{"destination": {"host": "reviews", "subset": "v1"}}]}],
    }
    return configuration("VirtualService", "secure", spec)


async def curl(port: int, host: str, *arguments: str) -> tuple[int, str]:
    """Exit code of curl, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "10",
        "--resolve",
        f"{host}:{port}:127.0.0.1",
        *arguments,
        f"https://{host}:{port}/",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_simple_and_mutual(tmp_path: Path, start_proxy: StartProxy) -> None:
    issuer, callers = Issuer(), Issuer()
    simple, mutual = free_port(), free_port()
    objects = [
        tls_secret("shop", issuer.pair("shop.example")),
        tls_secret("bank", issuer.pair("bank.example")),
        secret("bank-cacert", ca_crt=callers.pem),
        gateway(
            server(simple, "shop.example", mode="SIMPLE", credentialName="shop"),
            server(mutual, "bank.example", mode="MUTUAL", credentialName="bank"),
            server(simple, "absent.example", mode="SIMPLE", credentialName="absent"),
        ),
        routed("shop.example", "bank.example", "absent.example"),
    ]
    (tmp_path / "ca.pem").write_bytes(issuer.pem)
    for name, by in (("known", callers), ("stranger", issuer)):
        certificate, key = by.pair(name)
        (tmp_path / f"{name}.pem").write_bytes(certificate + key)
    trust = ("--cacert", str(tmp_path / "ca.pem"))
    async with front(start_proxy, objects, tmp_path):
        code, answer = await curl(simple, "shop.example", *trust)
        assert (code, json.loads(answer)["version"]) == (0, "v1")
        code, answer = await curl(simple, "shop.example", *trust, "--http1.1", "--tls-max", "1.2")
        assert (code, json.loads(answer)["version"]) == (0, "v1")
        # A server without its Secret does not come up, and does not keep the others from it.
        assert (await curl(simple, "absent.example", *trust))[0] != 0
        code, answer = await curl(mutual, "bank.example", *trust)
        assert code != 0, answer
        code, answer = await curl(mutual, "bank.example", *trust, "--cert", str(tmp_path / "stranger.pem"))
        assert code != 0, answer
        code, answer = await curl(mutual, "bank.example", *trust, "--cert", str(tmp_path / "known.pem"))
        assert (code, json.loads(answer)["version"]) == (0, "v1")


async def test_a_slow_client_hello_is_waited_for(tmp_path: Path, start_proxy: StartProxy) -> None:
    issuer, port = Issuer(), free_port()
    objects = [
        tls_secret("shop", issuer.pair("shop.example")),
        gateway(server(port, "shop.example", mode="SIMPLE", credentialName="shop")),
        routed("shop.example"),
    ]
    context = ssl.create_default_context(cadata=issuer.pem.decode())
    async with front(start_proxy, objects, tmp_path):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.5)
        await writer.start_tls(context, server_hostname="shop.example")
        writer.write(b"GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_changed_secret_breaks_no_connection(tmp_path: Path, start_proxy: StartProxy) -> None:
    issuer, port = Issuer(), free_port()
    objects = [
        tls_secret("shop", issuer.pair("shop.example")),
        gateway(server(port, "shop.example", mode="SIMPLE", credentialName="shop")),
        routed("shop.example"),
    ]

    async def serial() -> int:
        process = await asyncio.create_subprocess_shell(
            f"openssl s_client -connect 127.0.0.1:{port} -servername shop.example </dev/null 2>/dev/null"
            " | openssl x509 -noout -serial",
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        return int(output.decode().strip().removeprefix("serial="), 16) if output else 0

    context = ssl.create_default_context(cadata=issuer.pem.decode())
    async with front(start_proxy, objects, tmp_path) as running:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="shop.example"
        )

        async def ask() -> bytes:
            writer.write(b"GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            return head.split(b"\r\n")[0]

        assert await ask() == b"HTTP/1.1 200 OK"
        before = await serial()
        renewed = issuer.pair("shop.example")
        expected = x509.load_pem_x509_certificate(renewed[0]).serial_number
        later = running.plane.discovery.snapshot.registry.update([tls_secret("shop", renewed)])
        running.plane.discovery.publish(later)

        async def changed() -> bool:
            return await serial() == expected

        await eventually(changed)
        assert before != expected
        assert await ask() == b"HTTP/1.1 200 OK"
        # One that cannot be used is not served: the server goes, the connection is not cut.
        status = await running.running.synced(running.plane.discovery)
        assert [one.reason for one in status.types if one.reason] == []
        writer.close()


async def test_passthrough_by_server_name(tmp_path: Path, start_proxy: StartProxy) -> None:
    issuer, port = Issuer(), free_port()
    pair = issuer.pair("own.example")
    (tmp_path / "own.pem").write_bytes(pair[0] + pair[1])
    (tmp_path / "ca.pem").write_bytes(issuer.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nown")
        await writer.drain()
        writer.close()

    program = await asyncio.start_server(answer, "127.0.0.5", 0, ssl=context)
    number = program.sockets[0].getsockname()[1]
    objects = [
        service("own", address="10.96.0.10", tls=443),
        endpoint_slice("own", ["127.0.0.5"], tls=number),
        pod("own", "127.0.0.5", host_network=True, app="own"),
        gateway(server(port, "own.example", "TLS", mode="PASSTHROUGH")),
        configuration(
            "VirtualService",
            "own",
            {
                "hosts": ["own.example"],
                "gateways": ["secure"],
                "tls": [
                    {
                        "match": [{"port": port, "sniHosts": ["own.example"]}],
                        "route": [{"destination": {"host": "own", "port": {"number": 443}}}],
                    }
                ],
            },
        ),
    ]
    async with program, front(start_proxy, objects, tmp_path):
        trust = ("--cacert", str(tmp_path / "ca.pem"), "--http1.1")
        assert await curl(port, "own.example", *trust) == (0, "own")
        assert (await curl(port, "other.example", *trust, "--insecure"))[0] != 0


def resources(registry: Registry, proxy: Proxy) -> tuple[set[str], int]:
    """Names of the secrets that a proxy has, and the number of its listeners."""
    found = Snapshot(registry).resources(proxy)
    return set(found.of(SECRET)), len(found.of(LISTENER))


def router(namespace: str, **labels: str) -> Proxy:
    return Proxy(ProxyKind.ROUTER, namespace, "edge", "10.66.0.9", Labels.of(labels), "edge")


def test_a_secret_goes_to_the_gateway_s_own_pods_alone() -> None:
    issuer = Issuer()
    facts = Registry().update(
        [
            tls_secret("shop", issuer.pair("shop.example")),
            tls_secret("other", issuer.pair("other.example")),
            tls_secret("shop", issuer.pair("shop.example"), "elsewhere"),
            gateway(server(443, "shop.example", mode="SIMPLE", credentialName="shop")),
        ]
    )
    assert resources(facts, GATEWAY) == ({"kubernetes://default/shop"}, 1)
    # A gateway of the same labels elsewhere is shown its own namespace's Secret.
    assert resources(facts, router("elsewhere", istio="ingressgateway"))[0] == {"kubernetes://elsewhere/shop"}
    assert resources(facts, router("third", istio="ingressgateway")) == (set(), 0)
    assert resources(facts, router("default", istio="other")) == (set(), 0)
    sidecar = Proxy(
        ProxyKind.SIDECAR, "default", "web", "10.66.0.8", Labels.of({"istio": "ingressgateway"}), "web"
    )
    assert resources(facts, sidecar)[0] == set()


def test_a_certificate_of_another_namespace_needs_leave() -> None:
    issuer, group = Issuer(), "gateway.networking.k8s.io"
    reference = {"name": "shop", "namespace": "certificates"}
    made = {
        "apiVersion": f"{group}/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": {
            "listeners": [
                {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [reference]}}
            ]
        },
    }
    facts = Registry().update([tls_secret("shop", issuer.pair("a.example"), "certificates"), made])
    edge = router("default", **{"gateway.networking.k8s.io/gateway-name": "edge"})
    assert resources(facts, edge) == (set(), 0)
    spec = {
        "from": [{"group": group, "kind": "Gateway", "namespace": "default"}],
        "to": [{"group": "", "kind": "Secret", "name": "shop"}],
    }
    granted = facts.update([configuration("ReferenceGrant", "grant", spec, "certificates")])
    assert resources(granted, edge) == ({"kubernetes://certificates/shop"}, 1)
    # Pods of that name in another namespace are none of the Gateway's.
    elsewhere = router("elsewhere", **{"gateway.networking.k8s.io/gateway-name": "edge"})
    assert resources(granted, elsewhere) == (set(), 0)


def test_what_is_wrong_with_a_secret_is_said() -> None:
    issuer = Issuer()
    certificate, key = issuer.pair("a.example")
    other = issuer.pair("a.example")[1]
    assert isinstance(parse_secret(tls_secret("s", (certificate, key))), Credential)
    assert parse_secret(secret("s", password=b"x")) is None
    for data, complaint in (
        ({"tls_crt": certificate}, "only one of them"),
        ({"tls_crt": b"x", "tls_key": key}, "tls.crt: expected PEM certificates"),
        ({"tls_crt": certificate, "tls_key": b"x"}, "tls.key: expected a PEM private key"),
        ({"tls_crt": certificate, "tls_key": other}, "found another"),
        ({"ca_crt": b"x"}, "ca.crt: expected PEM certificates"),
    ):
        found = parse_secret(secret("s", **data))
        assert isinstance(found, str)
        assert complaint in found
        assert "PRIVATE" not in found
