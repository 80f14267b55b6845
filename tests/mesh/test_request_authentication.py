"""RequestAuthentication: the same tokens at a real Envoy and at our own proxy."""

import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from mesh_testing.backends import Front, front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.objects import configuration
from mesh_testing.running import StartProxy
from mesh_testing.tokens import claims, confused, encoded, key_set, token, unsigned

from hauberk.mesh.registry import SECURITY, Labels, Mesh, Registry
from hauberk.mesh.request_authentication import NO_KEYS, select_issuers
from hauberk.model.jwks import MalformedKeySetError, parse_key_set

ISSUER = "https://issuer.example/"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
EC384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
STRANGER = rsa.generate_private_key(65537, 2048)
KEYS = key_set(r=RSA, e=EC, e3=EC384, d=ED)


def authentication(*rules: dict[str, Any], name: str = "tokens") -> dict[str, Any]:
    spec = {"selector": {"matchLabels": {"istio": "ingressgateway"}}, "jwtRules": list(rules)}
    return configuration("RequestAuthentication", name, spec)


def policy(*rules: dict[str, Any], action: str = "ALLOW", name: str = "who") -> dict[str, Any]:
    spec = {"selector": {"matchLabels": {"istio": "ingressgateway"}}, "action": action, "rules": list(rules)}
    return configuration("AuthorizationPolicy", name, spec)


async def status(edge: Front, bearer: str | None, path: str = "/", **headers: str) -> int:
    if bearer is not None:
        headers["authorization"] = f"Bearer {bearer}"
    return (await edge.get(path, **headers))[0]


async def test_which_tokens_pass(tmp_path: Path, start_proxy: StartProxy) -> None:
    now = int(time.time())
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    good = token(RSA, claims(), kid="r")
    head, body, signature = good.split(".")
    forged = encoded(b'{"iss": "https://issuer.example/", "sub": "root"}')
    cases = {
        "none at all": (None, 200),
        "RS256": (good, 200),
        "RS384": (token(RSA, claims(), kid="r", alg="RS384"), 200),
        "RS512": (token(RSA, claims(), kid="r", alg="RS512"), 200),
        "PS256": (token(RSA, claims(), kid="r", alg="PS256"), 200),
        "ES256": (token(EC, claims(), kid="e"), 200),
        "ES384": (token(EC384, claims(), kid="e3", alg="ES384"), 200),
        "EdDSA": (token(ED, claims(), kid="d"), 200),
        "without kid": (token(EC, claims()), 200),
        "without exp": (token(RSA, claims(exp=None), kid="r"), 200),
        "expired within a minute": (token(RSA, claims(exp=now - 10), kid="r"), 200),
        "audience nobody asks for": (token(RSA, claims(aud="other"), kid="r"), 200),
        "expired": (token(RSA, claims(exp=now - 120), kid="r"), 401),
        "not yet": (token(RSA, claims(nbf=now + 120), kid="r"), 401),
        "other issuer": (token(RSA, claims(iss="https://issuer.example"), kid="r"), 401),
        "no issuer": (token(RSA, claims(iss=None), kid="r"), 401),
        "unknown kid": (token(RSA, claims(), kid="x"), 401),
        "another's kid": (token(EC, claims(), kid="r"), 401),
        "stranger": (token(STRANGER, claims(), kid="r"), 401),
        "other payload": (f"{head}.{forged}.{signature}", 401),
        "no signature": (f"{head}.{body}.", 401),
        "cut": (f"{head}.{body}", 401),
        "alg none": (unsigned(claims()), 401),
        "alg HS256 by the public key": (confused(public, claims(), kid="r"), 401),
        "alg of another key": (token(RSA, claims(), kid="r").replace(head, encoded(b'{"alg":"ES256"}')), 401),
        "exp is text": (token(RSA, claims(exp="tomorrow"), kid="r"), 401),
        "negative exp": (token(RSA, claims(exp=-1), kid="r"), 401),
        "no JSON": (f"{encoded(b'x')}.{encoded(b'y')}.{signature}", 401),
        "no token": ("x", 401),
    }
    objects = [authentication({"issuer": ISSUER, "jwks": KEYS}), virtual_service({"route": [to("v1")]})]
    async with front(start_proxy, objects, tmp_path) as edge:
        found = {name: await status(edge, bearer) for name, (bearer, _) in cases.items()}
        assert found == {name: expected for name, (_, expected) in cases.items()}


async def test_audiences_places_and_what_is_passed_on(tmp_path: Path, start_proxy: StartProxy) -> None:
    objects = [
        authentication(
            {
                "issuer": ISSUER,
                "jwks": KEYS,
                "audiences": ["shop", "https://bank.example/"],
                "outputPayloadToHeader": "x-payload",
                "outputClaimToHeaders": [{"header": "x-subject", "claim": "sub"}],
            },
            {
                "issuer": "second",
                "jwks": KEYS,
                "fromHeaders": [{"name": "x-token", "prefix": "Token "}],
                "fromParams": ["t"],
                "fromCookies": ["session"],
                "forwardOriginalToken": True,
            },
        ),
        virtual_service({"route": [to("v1")]}),
    ]
    async with front(start_proxy, objects, tmp_path) as edge:

        async def with_audience(audience: Any) -> int:
            return await status(edge, token(EC, claims(aud=audience), kid="e"))

        assert await with_audience("shop") == 200
        assert await with_audience(["other", "shop"]) == 200
        assert await with_audience("bank.example") == 200
        assert await with_audience("other") == 403
        assert await with_audience(None) == 403
        good = token(EC, claims(aud="shop"), kid="e")
        forged = {"x-payload": "forged", "x-subject": "root"}
        _, body, _ = await edge.get(authorization=f"Bearer {good}", **forged)
        assert body["headers"]["x-payload"] == good.split(".")[1]
        assert body["headers"]["x-subject"] == "anna"
        assert "authorization" not in body["headers"]
        _, body, _ = await edge.get(**forged)
        assert not {"x-payload", "x-subject"} & body["headers"].keys()
        assert (await edge.get(f"/a?x=1&access_token={good}"))[0] == 200
        second = token(EC, claims(iss="second"), kid="e")
        _, body, _ = await edge.get(x_token=f"Token {second}")
        assert body["headers"]["x-token"] == f"Token {second}"
        assert (await edge.get(f"/?t={second}"))[0] == 200
        assert (await edge.get(cookie=f"a=b; session={second}"))[0] == 200
        # A token where its issuer is not looked for is no token of that issuer.
        assert await status(edge, second) == 401
        assert (await edge.get(x_token=f"Token {good}"))[0] == 401
        _, body, headers = await edge.get(authorization="Bearer x.y.z")
        assert headers["www-authenticate"].startswith("Bearer realm=")


async def test_what_policies_ask_of_tokens(tmp_path: Path, start_proxy: StartProxy) -> None:
    def when(path: str, key: str, *values: str) -> dict[str, Any]:
        condition = {"key": f"request.auth.{key}", "values": list(values)}
        return {"to": [{"operation": {"paths": [path]}}], "when": [condition]}

    def of(path: str, **source: list[str]) -> dict[str, Any]:
        return {"to": [{"operation": {"paths": [path]}}], "from": [{"source": source}]}

    objects = [
        authentication({"issuer": ISSUER, "jwks": KEYS}, {"issuer": "second", "jwks": KEYS}),
        virtual_service({"route": [to("v1")]}),
        policy(
            of("/any", requestPrincipals=["*"]),
            of("/anna", requestPrincipals=[f"{ISSUER}/anna"]),
            of("/issuer", requestPrincipals=[f"{ISSUER}/*"]),
            of("/subject", requestPrincipals=["*/anna"]),
            of("/nobody", notRequestPrincipals=["*"]),
            when("/group", "claims[groups]", "admin"),
            when("/scope", "claims[scope]", "write"),
            when("/nested", "claims[realm][role]", "own*"),
            when("/audience", "audiences", "shop"),
            when("/presenter", "presenter", "app"),
            when("/principal", "principal", f"{ISSUER}/anna"),
        ),
        policy(
            {
                "to": [{"operation": {"paths": ["/closed"]}}],
                "from": [{"source": {"notRequestPrincipals": ["*"]}}],
            },
            action="DENY",
            name="closed",
        ),
        policy({"to": [{"operation": {"paths": ["/closed"]}}]}, name="open"),
    ]
    async with front(start_proxy, objects, tmp_path) as edge:

        async def allowed(path: str, **more: Any) -> bool:
            found = await status(edge, token(EC, claims(**more), kid="e") if more.pop("_", 1) else None, path)
            assert found in (200, 403), found
            return found == 200

        assert await allowed("/any")
        assert await status(edge, None, "/any") == 403
        assert await status(edge, None, "/nobody") == 200
        assert not await allowed("/nobody")
        assert await allowed("/anna")
        assert not await allowed("/anna", sub="berta")
        assert not await allowed("/anna", iss="second")
        assert await allowed("/issuer", sub="berta")
        assert not await allowed("/issuer", iss="second")
        assert await allowed("/subject", iss="second")
        assert not await allowed("/any", sub=None)
        assert await allowed("/group", groups=["user", "admin"])
        assert await allowed("/group", groups="admin")
        assert not await allowed("/group", groups=["user"])
        assert not await allowed("/group")
        assert await allowed("/scope", scope="read write")
        assert not await allowed("/scope", scope="read writer")
        assert await allowed("/nested", realm={"role": "owner"})
        assert not await allowed("/nested", realm={"role": "guest"})
        assert not await allowed("/nested", realm="owner")
        assert await allowed("/audience", aud=["shop"])
        assert await allowed("/presenter", azp="app")
        assert await allowed("/principal")
        assert await status(edge, None, "/closed") == 403
        assert await allowed("/closed")


async def test_without_keys_every_token_is_refused(tmp_path: Path, start_proxy: StartProxy) -> None:
    address = "https://issuer.example/keys"
    objects = [
        authentication({"issuer": ISSUER, "jwksUri": address}, {"issuer": "bad", "jwks": "{}"}),
        virtual_service({"route": [to("v1")]}),
    ]
    async with front(start_proxy, objects, tmp_path) as edge:
        good = token(RSA, claims(), kid="r")
        assert await status(edge, good) == 401
        assert await status(edge, token(RSA, claims(iss="bad"), kid="r")) == 401
        assert await status(edge, None) == 200
        registry = edge.plane.discovery.snapshot.registry
        edge.plane.discovery.publish(registry.with_key_sets({address: parse_key_set(KEYS)}))

        async def accepted() -> bool:
            return await status(edge, good) == 200

        await eventually(accepted)


def test_a_key_set_is_cut_to_its_public_keys() -> None:
    assert parse_key_set(KEYS).count('"kty"') == 4
    secret = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}'
    for text in ("", "[]", "{}", '{"keys": {}}', secret, "[" * 100_000):
        with pytest.raises(MalformedKeySetError):
            parse_key_set(text)
    private = KEYS.replace('"kty": "EC"', '"kty": "EC", "d": "c2VjcmV0"')
    assert "c2VjcmV0" not in parse_key_set(private)


def test_rules_of_all_policies_that_apply_are_put_together() -> None:
    def of(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
        rules = [{"issuer": name, "jwks": KEYS}]
        return configuration("RequestAuthentication", name, {"jwtRules": rules, **spec}, namespace)

    gateway = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}
    facts = Registry().update(
        [
            of("all", "istio-system"),
            of("namespace", "bank"),
            of("web", "bank", selector={"matchLabels": {"app": "web"}}),
            of("other", "bank", selector={"matchLabels": {"app": "other"}}),
            of("edge", "bank", targetRefs=[gateway]),
            of("elsewhere", "shop"),
        ]
    )
    found = facts.of_kind(SECURITY, "RequestAuthentication")

    def issuers(**labels: str) -> set[str]:
        return {one.spec["issuer"] for one in select_issuers(found, "bank", Labels.of(labels), Mesh(), {})}

    assert issuers(app="web") == {"all", "namespace", "web"}
    edge = issuers(**{"gateway.networking.k8s.io/gateway-name": "edge"})
    assert edge == {"all", "namespace", "edge"}
    assert NO_KEYS not in {one.keys for one in select_issuers(found, "bank", Labels.of({}), Mesh(), {})}
