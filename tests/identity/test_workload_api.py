"""The Workload API through an independent client: the PyPI package `spiffe`."""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography import x509
from identity_testing.workload import workload

from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.bundle import TrustBundle, TrustBundles
from hauberk.identity.certificate import generate_key
from hauberk.identity.protocol import workload_pb2, workload_pb2_grpc
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain
from hauberk.identity.svid import InvalidSvidError
from hauberk.identity.verification import verify_svid
from hauberk.store.encryption import generate_sealer

CLIENT = Path(__file__).parent / "identity_testing" / "spiffe_client.py"
A, B = TrustDomain("a.example"), TrustDomain("b.example")
WEB, BANK = A.workload("shop", "web"), B.workload("bank", "ledger")


class CallError(Exception):
    """What the independent client raised."""


class Client:
    """The independent client, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self, name: str, *arguments: Any) -> Any:
        """What the call gave. Raises `CallError`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, *arguments]).encode() + b"\n")
        outcome = await self.said()
        if "error" in outcome:
            raise CallError(outcome["error"])
        return outcome["value"]

    async def said(self) -> Any:
        """The next line that it says."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def started(socket: Path, *arguments: str) -> AsyncIterator[Client]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), str(socket), *arguments, stdin=pipe, stdout=pipe
    )
    try:
        yield Client(process)
    finally:
        process.kill()
        await process.wait()


@dataclass
class Served:
    """A CA, a workload of it, and the independent client at its socket."""

    authority: CertificateAuthority
    socket: Path
    client: Client


def authority(folder: Path, domain: TrustDomain) -> CertificateAuthority:
    folder.mkdir()
    return CertificateAuthority.open(folder, generate_sealer(), trust_domain=domain)


@asynccontextmanager
async def served(folder: Path, ca: CertificateAuthority, spiffe_id: SpiffeId) -> AsyncIterator[Served]:
    socket = folder / f"{spiffe_id.trust_domain}.sock"
    async with workload(socket, ca, spiffe_id, {}), started(socket) as client:
        yield Served(ca, socket, client)


def certificates(told: list[str]) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_der_x509_certificate(base64.b64decode(each)) for each in told)


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, authority(tmp_path / "a", A), WEB) as made:
        yield made


async def test_x509_svids_and_bundles(web: Served) -> None:
    svid = await web.client.call("svid")
    assert (svid["id"], svid["key_fits"]) == (str(WEB), True)
    assert verify_svid(certificates(svid["chain"]), web.authority.bundles, datetime.now(UTC)) == WEB
    assert (await web.client.call("bundles")).keys() == {str(A)}
    assert await web.client.call("jwt_bundles") == [str(A)]


async def test_jwt_svids_and_all_that_is_wrong_with_them(web: Served, tmp_path: Path) -> None:
    async def validate(token: str, audience: str = "bank") -> str:
        return str(await web.client.call("validate", token, audience))

    good = await web.client.call("jwt", ["bank", "shop"])
    assert await validate(good, "bank") == await validate(good, "shop") == str(WEB)
    key, now = web.authority._state.jwt.current, int(time.time())
    claims = {"sub": str(WEB), "aud": ["bank"], "exp": now + 60}
    header = {"kid": key.key_id}
    sound = {"key": key.key, "algorithm": "ES256", "headers": header}
    assert await validate(jwt.encode(claims, **sound)) == str(WEB), "what follows is wrong in one way each"
    foreign = authority(tmp_path / "b", B).sign_jwt(BANK, ["bank"])
    head, body, signature = good.split(".")
    wrong = {
        "expired": jwt.encode({**claims, "exp": now - 1}, **sound),
        "no expiry": jwt.encode({"sub": str(WEB), "aud": ["bank"]}, **sound),
        "no audience": jwt.encode({"sub": str(WEB), "exp": now + 60}, **sound),
        "no subject": jwt.encode({"aud": ["bank"], "exp": now + 60}, **sound),
        "not yet valid": jwt.encode({**claims, "nbf": now + 60}, **sound),
        "a subject that is no SPIFFE ID": jwt.encode({**claims, "sub": "web"}, **sound),
        "a trust domain as subject": jwt.encode({**claims, "sub": str(A.id)}, **sound),
        "algorithm none": jwt.encode(claims, None, "none", header),
        "an algorithm of shared secrets": jwt.encode(claims, "x" * 32, "HS256", header),
        "another type": jwt.encode(claims, key.key, "ES256", {**header, "typ": "at+jwt"}),
        "an unknown key": jwt.encode(claims, key.key, "ES256", {"kid": "unknown"}),
        "no key named": jwt.encode(claims, key.key, "ES256"),
        "another key under a known name": jwt.encode(claims, generate_key(), "ES256", header),
        "a foreign trust domain": foreign,
        "a foreign subject under our key": jwt.encode({**claims, "sub": str(BANK)}, **sound),
        "a changed body": f"{head}.{_changed(body)}.{signature}",
        "no signature": f"{head}.{body}.",
        "no token": "anything else",
    }
    accepted = {}
    for name, token in wrong.items():
        try:
            accepted[name] = await _validated_by_us(web, token, "bank")
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, name
            assert token not in (error.details() or ""), name
        with pytest.raises(CallError):
            await validate(token)
    assert accepted == {}
    with pytest.raises(CallError):
        await validate(good, "another audience")
    for arguments in ([[]], [["bank"], str(BANK)]):
        with pytest.raises(CallError):
            await web.client.call("jwt", *arguments)


async def _validated_by_us(web: Served, token: str, audience: str) -> str:
    """Straight from the server: the client has checks of its own before and after."""
    async with grpc.aio.insecure_channel(f"unix:{web.socket}") as channel:
        answer = await workload_pb2_grpc.SpiffeWorkloadAPIStub(channel).ValidateJWTSVID(
            workload_pb2.ValidateJWTSVIDRequest(svid=token, audience=audience),
            metadata=(("workload.spiffe.io", "true"),),
        )
        return str(answer.spiffe_id)


def _changed(body: str) -> str:
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    changed = json.dumps({**claims, "sub": str(A.workload("shop", "admin"))}).encode()
    return base64.urlsafe_b64encode(changed).decode().rstrip("=")


async def test_without_the_security_header_nothing_is_answered(web: Served) -> None:
    async with grpc.aio.insecure_channel(f"unix:{web.socket}") as channel:
        stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(channel)
        calls = (
            stub.FetchX509SVID(workload_pb2.X509SVIDRequest()).read(),
            stub.FetchX509Bundles(workload_pb2.X509BundlesRequest()).read(),
            stub.FetchJWTBundles(workload_pb2.JWTBundlesRequest()).read(),
            stub.FetchJWTSVID(workload_pb2.JWTSVIDRequest(audience=["x"])),
            stub.ValidateJWTSVID(workload_pb2.ValidateJWTSVIDRequest(svid="x", audience="x")),
        )
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_another_trust_domain_counts_only_while_its_bundle_is_given(
    web: Served, tmp_path: Path
) -> None:
    bank_ca = authority(tmp_path / "b", B)
    async with served(tmp_path, bank_ca, BANK) as bank:
        chain = certificates((await bank.client.call("svid"))["chain"])
        token = await bank.client.call("jwt", ["shop"])

        async def trusted() -> dict[str, list[str]]:
            bundles: dict[str, list[str]] = (await web.client.call("context"))["bundles"]
            assert bundles == await web.client.call("bundles")
            return bundles

        async def believed() -> tuple[bool, bool]:
            """The X.509-SVID, by what the client has been given, and the JWT-SVID, by the server."""
            own, *others = (
                TrustBundle(TrustDomain(name), certificates(told))
                for name, told in sorted((await trusted()).items())
            )
            try:
                by_chain = verify_svid(chain, TrustBundles(own, tuple(others)), datetime.now(UTC)) == BANK
            except InvalidSvidError:
                by_chain = False
            try:
                return by_chain, await web.client.call("validate", token, "shop") == str(BANK)
            except CallError:
                return by_chain, False

        async def jwt_domains() -> list[str]:
            return list(await web.client.call("jwt_bundles"))

        assert ((await trusted()).keys(), await jwt_domains()) == ({str(A)}, [str(A)])
        assert await believed() == (False, False)
        web.authority.federate(bank_ca.bundles.own)
        assert ((await trusted()).keys(), await jwt_domains()) == ({str(A), str(B)}, [str(A), str(B)])
        assert await believed() == (True, True)
        web.authority.unfederate(B)
        assert ((await trusted()).keys(), await jwt_domains()) == ({str(A)}, [str(A)])
        assert await believed() == (False, False)


async def test_a_client_finds_the_server_again_after_its_restart(tmp_path: Path) -> None:
    ca = authority(tmp_path / "a", A)
    socket = tmp_path / "workload.sock"
    async with started(socket, "stream") as client:
        seen = []
        for _ in range(3):
            socket.unlink(missing_ok=True)
            async with workload(socket, ca, WEB, {}):
                seen.append(await client.said())
        assert len(set(seen)) == 3, "each server made a new SVID"
