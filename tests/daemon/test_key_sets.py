"""Key sets of tokens' issuers: fetched within bounds, kept while the issuer is away."""

import asyncio
import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hauberk.daemon import key_sets
from hauberk.daemon.key_sets import LONGEST_WAIT, KeySets, back_off, is_elsewhere
from hauberk.mesh.ads import Discovery
from hauberk.mesh.registry import Registry

KEYS = json.dumps(
    {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}
)


class Issuer:
    """An HTTPS server on the loopback that answers what a test says."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self.url = f"https://localhost:{port}"
        self.tls = tls
        self.answers: dict[str, web.Response | str] = {}
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        found = self.answers.get(request.path)
        if isinstance(found, str):
            return web.Response(text=found)
        return found or web.Response(status=404)


@asynccontextmanager
async def issuer(folder: Path) -> AsyncIterator[Issuer]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(certificate + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    application = web.Application()
    found: list[Issuer] = []

    async def answer(request: web.Request) -> web.Response:
        return await found[0].answer(request)

    application.router.add_get("/{anything:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server)
    await site.start()
    found.append(Issuer(runner.addresses[0][1], ssl.create_default_context(cadata=certificate.decode())))
    try:
        yield found[0]
    finally:
        await runner.cleanup()


def asking(*rules: dict[str, Any]) -> Registry:
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens", "namespace": "default"},
        "spec": {"jwtRules": list(rules)},
    }
    return Registry().update([policy])


@asynccontextmanager
async def fetching(
    registry: Registry, one: Issuer, permitted: Callable[[Any], bool] = lambda _address: True, **more: Any
) -> AsyncIterator[list[dict[str, str]]]:
    """What has been published, the last one last."""
    published: list[dict[str, str]] = []
    discovery = Discovery(registry, lambda _context, _node: pytest.fail("nobody connects"))
    work = KeySets(discovery, published.append, permitted, one.tls, **more)
    task = asyncio.create_task(work.run())
    try:
        yield published
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (any condition)
            await asyncio.sleep(0.02)


async def test_told_and_discovered_sets(tmp_path: Path) -> None:
    async with issuer(tmp_path) as one:
        discovered = f"{one.url}/a/.well-known/openid-configuration"
        one.answers = {
            "/keys": KEYS,
            "/a/.well-known/openid-configuration": json.dumps({"jwks_uri": f"{one.url}/a/keys"}),
            "/a/keys": KEYS,
        }
        rules = [{"issuer": "x", "jwksUri": f"{one.url}/keys"}, {"issuer": f"{one.url}/a/"}]
        async with fetching(asking(*rules), one) as published:
            await until(lambda: published and set(published[-1]) == {f"{one.url}/keys", discovered})
            assert "Ed25519" in published[-1][discovered]


async def test_what_is_out_of_bounds_is_not_fetched(tmp_path: Path) -> None:
    async with issuer(tmp_path) as one:
        one.answers = {
            "/moved": web.Response(status=302, headers={"location": f"{one.url}/keys"}),
            "/keys": KEYS,
            "/large": "x" * 300_000,
            "/none": '{"keys": []}',
            "/away/.well-known/openid-configuration": json.dumps({"jwks_uri": "http://localhost/keys"}),
        }
        told = ["/moved", "/large", "/none", "/missing"]
        rules = [{"issuer": "x", "jwksUri": one.url + path} for path in told]
        rules += [{"issuer": "x", "jwksUri": "http://localhost/keys"}, {"issuer": f"{one.url}/away"}]
        async with fetching(asking(*rules), one) as published:
            await until(lambda: published)
            assert published[-1] == {}
            assert "/keys" not in one.asked
            assert {*told, "/away/.well-known/openid-configuration"} <= set(one.asked)


async def test_this_machine_and_its_link_are_not_asked(tmp_path: Path) -> None:
    async with issuer(tmp_path) as one:
        one.answers = {"/keys": KEYS}
        hosts = (
            "localhost",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "[::ffff:127.0.0.1]",
            "１２７。0。0。1",
            "[::1",
        )
        urls = [one.url.replace("localhost", host) for host in hosts]
        rules = [{"issuer": "x", "jwksUri": f"{url}/keys"} for url in urls]
        async with fetching(asking(*rules), one, is_elsewhere) as published:
            await until(lambda: published)
            assert (published[-1], one.asked) == ({}, [])
    for address in (
        "127.0.0.1",
        "169.254.169.254",
        "::1",
        "fe80::1",
        "0.0.0.0",
        "224.0.0.1",
        "::ffff:127.0.0.1",
    ):
        assert not is_elsewhere(ipaddress.ip_address(address))
    assert is_elsewhere(ipaddress.ip_address("192.0.2.1"))


@pytest.mark.parametrize(
    "address",
    [
        f"https://{'a' * 64}.com/keys",
        "https://a..b/keys",
        "https://.com/keys",
        "https://user:pĀsecret@localhost/keys",
        "https://user:secret@localhost/keys",
        "https://user:se/cret@localhost/keys",
        "secret@localhost/keys",
        "https://secret@localhost:port/keys",
        "https://user:secret@h\u2100/keys",
        "https://\ud800secret@localhost/keys",
        "https://localhost:99999999/keys",
        "https://[::1%25secret]/keys",
        f"https://xn--{'9' * 50}.com/keys",
    ],
)
@pytest.mark.parametrize("discovered", [False, True])
async def test_no_address_ends_the_fetching(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, address: str, discovered: bool
) -> None:
    """Written by a user, or answered by an issuer; and what stands before its host is not told to the log."""
    async with issuer(tmp_path) as one:
        one.answers = {
            "/keys": KEYS,
            "/.well-known/openid-configuration": json.dumps({"jwks_uri": address}),
        }
        bad = {"issuer": one.url} if discovered else {"issuer": "x", "jwksUri": address}
        rules = [bad, {"issuer": "y", "jwksUri": f"{one.url}/keys"}]
        async with fetching(asking(*rules), one) as published:
            await until(lambda: published)
            assert set(published[-1]) == {f"{one.url}/keys"}
    assert "; again in " in caplog.text
    assert "secret" not in caplog.text.replace("%25secret", "")
    assert "cret@" not in caplog.text


async def test_what_nobody_thought_of_fails_one_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parse = key_sets.parse_key_set

    def parsing(text: str) -> str:
        if "bad" in text:
            raise RuntimeError(text)
        return parse(text)

    monkeypatch.setattr(key_sets, "parse_key_set", parsing)
    async with issuer(tmp_path) as one:
        one.answers = {"/bad": "bad", "/keys": KEYS}
        rules = [{"issuer": "x", "jwksUri": one.url + path} for path in ("/bad", "/keys")]
        async with fetching(asking(*rules), one) as published:
            await until(lambda: published)
            assert set(published[-1]) == {f"{one.url}/keys"}
    assert "/bad: fault: RuntimeError < " in caplog.text


async def test_a_set_stays_while_the_issuer_is_away_and_is_renewed(tmp_path: Path) -> None:
    async with issuer(tmp_path) as one:
        address = f"{one.url}/keys"
        one.answers = {"/keys": KEYS}
        rule = {"issuer": "x", "jwksUri": address}
        async with fetching(asking(rule), one, refresh_seconds=0.1) as published:
            await until(lambda: published and published[-1])
            before, asked = published[-1][address], len(one.asked)
            one.answers = {}
            await until(lambda: len(one.asked) > asked)
            count = len(published)
            await until(lambda: len(published) > count)
            assert published[-1] == {address: before}
            one.answers = {"/keys": KEYS.replace('"kty"', '"kid": "new", "kty"')}
            await until(lambda: "new" in published[-1][address])


def test_an_issuer_may_be_away_for_days() -> None:
    assert [back_off(failures) for failures in (1, 2, 6, 5_000)] == [2, 4, LONGEST_WAIT, LONGEST_WAIT]
