"""`hauberk.sdk` as a program of the system's Python, asked by independent clients."""

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.spiffe_id import TrustDomain
from hauberk.sdk import allow, deny
from hauberk.sdk.over_http import MalformedRequestError, parse_head
from hauberk.store.encryption import generate_sealer

ROOT = Path(__file__).parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"
CLIENT = "spiffe://cluster.local/ns/shop/sa/client"


def example() -> str:
    """The program of examples/authorizer."""
    for found in yaml.safe_load_all((ROOT / "examples/authorizer/authorizer.yaml").read_text()):
        if found["kind"] == "ConfigMap":
            return str(found["data"]["authorizer.py"])
    raise AssertionError("the example has no program")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def program(text: str, folder: Path, *ports: int, **environment: str) -> AsyncIterator[None]:
    """A program until all its ports listen; it must end well by SIGTERM."""
    file = folder / "authorizer.py"
    file.write_text(text)
    process = await asyncio.create_subprocess_exec(
        SYSTEM_PYTHON, "-u", str(file), env=dict(os.environ, PYTHONPATH=str(ROOT / "src"), **environment)
    )
    try:
        async with asyncio.timeout(20):
            for port in ports:
                while True:
                    assert process.returncode is None, "it ended"
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                    except OSError:
                        await asyncio.sleep(0.05)
                    else:
                        writer.close()
                        break
        yield
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def question(caller: str, path: str, **headers: str) -> external_auth_pb2.CheckRequest:
    http = {"method": "GET", "path": path, "host": "shop", "headers": headers}
    return external_auth_pb2.CheckRequest(
        attributes={"source": {"principal": caller}, "request": {"http": http}}
    )


async def test_the_example_decides_over_grpc_and_over_http(tmp_path: Path) -> None:
    over_grpc, over_http = free_port(), free_port()
    text = example().replace("0.0.0.0:9000", f"127.0.0.1:{over_grpc}")
    text = text.replace("0.0.0.0:8000", f"127.0.0.1:{over_http}")
    async with (
        program(text, tmp_path, over_grpc, over_http),
        grpc.aio.insecure_channel(f"127.0.0.1:{over_grpc}") as channel,
        aiohttp.ClientSession() as session,
    ):
        authorizer = external_auth_pb2_grpc.AuthorizationStub(channel)
        anna, berta = {"authorization": "Bearer anna"}, {"authorization": "Bearer berta"}
        allowed = await authorizer.Check(question(CLIENT, "/orders", **anna))
        assert allowed.status.code == 0
        (user,) = allowed.ok_response.headers
        assert (user.header.key, user.header.value) == ("x-user", "anna")
        assert user.append_action == user.OVERWRITE_IF_EXISTS_OR_ADD
        assert list(allowed.ok_response.headers_to_remove) == ["authorization"]
        unknown = await authorizer.Check(question(CLIENT, "/orders"))
        assert (unknown.status.code, unknown.denied_response.status.code) == (7, 401)
        assert unknown.denied_response.body == "who are you?"
        assert unknown.denied_response.headers[0].header.key == "www-authenticate"
        assert (
            await authorizer.Check(question(CLIENT, "/admin", **berta))
        ).denied_response.status.code == 403
        assert (await authorizer.Check(question(CLIENT, "/admin", **anna))).status.code == 0
        stranger = await authorizer.Check(question("spiffe://cluster.local/ns/a/sa/b", "/orders", **anna))
        assert stranger.denied_response.status.code == 403
        # HTTP does not say who calls: the example, which wants to know, refuses.
        for _ in range(2):
            async with session.post(
                f"http://127.0.0.1:{over_http}/orders", data=b"12", headers=anna
            ) as answer:
                assert (answer.status, await answer.text()) == (403, " is no caller of the shop")


PROGRAM = """
import asyncio
from hauberk.sdk import allow, deny, serve

async def decide(request):
    if request.path == "/fail":
        raise RuntimeError("no")
    if request.body == b"bad":
        return deny(302, "no", {{"location": "/login"}})
    return allow({{"x-seen": request.method + request.path}}, ("cookie",), {{"x-back": "1"}})

asyncio.run(serve(decide, {address}))
"""


async def test_an_authorizer_over_http(tmp_path: Path) -> None:
    port = free_port()
    text = PROGRAM.format(address=f"http_address='127.0.0.1:{port}', path_prefix='/check'")
    url = f"http://127.0.0.1:{port}/check"
    async with program(text, tmp_path, port), aiohttp.ClientSession() as session:
        async with session.put(f"{url}/a?b=c") as answer:
            assert answer.status == 200
            assert answer.headers["x-seen"] == "PUT/a?b=c"
            assert answer.headers["x-back"] == "1"
            assert answer.headers["x-envoy-auth-headers-to-remove"] == "cookie"
        async with session.post(url, data=b"bad", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["location"], await answer.text()) == (302, "/login", "no")
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{url}/fail")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_spiffe_tls_takes_callers_of_the_trust_domain_alone(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "identity"))
    from identity_testing.workload import workload

    domain, port = TrustDomain("a.example"), free_port()
    (tmp_path / "ca").mkdir()
    authority = CertificateAuthority.open(tmp_path / "ca", generate_sealer(), trust_domain=domain)
    socket_path = tmp_path / "w.sock"
    text = PROGRAM.format(address=f"grpc_address='127.0.0.1:{port}', spiffe_tls=True")
    endpoint = f"unix://{socket_path}"
    async with (
        workload(socket_path, authority, domain.workload("shop", "authorizer"), {}) as server,
        program(text, tmp_path, port, SPIFFE_ENDPOINT_SOCKET=endpoint),
    ):
        identity = server.source.current
        assert identity is not None
        pem = serialization.Encoding.PEM
        chain = b"".join(one.public_bytes(pem) for one in identity.svid.chain)
        key = identity.svid.key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (tmp_path / "own.pem").write_bytes(chain + key)

        async def greeting(certificate: bool) -> bytes:
            context = ssl.create_default_context(cafile=None)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            if certificate:
                context.load_cert_chain(tmp_path / "own.pem")
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
                async with asyncio.timeout(5):
                    return await reader.read(9)
            except (ssl.SSLError, ConnectionError):
                return b""

        assert (await greeting(certificate=True))[3:4] == b"\x04", "HTTP/2 settings"
        assert await greeting(certificate=False) == b""


def test_no_decision_can_break_a_header() -> None:
    for name, value in (("a b", "c"), ("", "c"), ("a\r\nb", "c"), ("a", "b\r\nset-cookie: c"), ("a", "b\0")):
        with pytest.raises(ValueError, match="headers"):
            allow({name: value})
        with pytest.raises(ValueError, match="headers"):
            deny(403, headers={name: value})
    for status in (0, 200, 500, 1000):
        with pytest.raises(ValueError, match="status"):
            deny(status)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser_of_requests(head: bytes) -> None:
    try:
        method, path, headers = parse_head(head + b"\r\n\r\n")
    except MalformedRequestError:
        return
    assert " " not in method + path
    assert all(
        name and "\r" not in name + value and "\n" not in name + value for name, value in headers.items()
    )
