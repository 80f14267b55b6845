"""RequestAuthentication → Envoy's `jwt_authn` filter (Istio, "RequestAuthentication").

A request without a token passes, and proves nothing; one with a token that no rule vouches for is refused. What a token
says is then asked by AuthorizationPolicy (`requestPrincipals`, `request.auth.claims[…]`). Where no keys are known
(not fetched yet, or malformed) every token is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from hauberk.mesh import filters
from hauberk.mesh.policy_targets import applies
from hauberk.mesh.registry import Configuration, Labels, Mesh
from hauberk.model.jwks import MalformedKeySetError, parse_key_set

FILTER = "envoy.filters.http.jwt_authn"
PAYLOAD = "payload"
"""Where the filter leaves a verified token's claims in its dynamic metadata."""
DISCOVERY = "/.well-known/openid-configuration"
SPACE_DELIMITED = ("scope", "permission")
"""Claims that are lists in a text, unless a rule names others too."""
NO_KEYS = json.dumps(
    {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "x": base64.urlsafe_b64encode(hashlib.sha256(b"nobody has the key to this").digest())
                .rstrip(b"=")
                .decode(),
            }
        ]
    }
)
"""A set that verifies nothing, for rules without usable keys: an Envoy takes no empty one."""

Spec = Mapping[str, Any]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Issuer:
    """One of a workload's `jwtRules`, with its keys in JSON; compared by content."""

    rule: str
    keys: str

    @property
    def spec(self) -> Spec:
        found: Spec = json.loads(self.rule)
        return found


def select_issuers(
    policies: Iterable[Configuration],
    namespace: str,
    labels: Labels,
    mesh: Mesh,
    key_sets: Mapping[str, str],
) -> tuple[Issuer, ...]:
    """The rules of all RequestAuthentications that apply to a workload; `key_sets` are the fetched ones, by address."""
    found: list[Issuer] = []
    for policy in policies:
        if not applies(policy, namespace, labels, mesh):
            continue
        for rule in _rules(policy):
            issuer = Issuer(json.dumps(rule, sort_keys=True), _keys(rule, key_sets))
            try:
                _provider(issuer)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                where = f"{policy.namespace}/{policy.name}"
                _log.error("mesh: RequestAuthentication %s: a rule is not used: %r", where, error)
                continue
            found.append(issuer)
    return tuple(found)


def http_filters(issuers: Iterable[Issuer]) -> list[http_connection_manager_pb2.HttpFilter]:
    """The filter, or none where no rule applies."""
    config = config_pb2.JwtAuthentication()
    requirement = config_pb2.JwtRequirement()
    for index, issuer in enumerate(issuers):
        name = f"origins-{index}"
        config.providers[name].CopyFrom(_provider(issuer))
        requirement.requires_any.requirements.add(provider_name=name)
    if not config.providers:
        return []
    requirement.requires_any.requirements.add(allow_missing={})
    config.rules.add(match=route_components_pb2.RouteMatch(prefix="/"), requires=requirement)
    config.bypass_cors_preflight = True
    return [filters.http_filter(FILTER, config)]


def key_set_address(rule: Spec) -> str:
    """Where a rule's keys are to be fetched: told, or found by the issuer (OpenID Connect Discovery 1.0, 4).

    Empty if the rule holds them, or its issuer is no address.
    """
    if rule.get("jwks"):
        return ""
    told = str(rule.get("jwksUri") or rule.get("jwks_uri") or "")
    issuer = str(rule.get("issuer") or "")
    if not told and issuer.startswith("https://"):
        return issuer.rstrip("/") + DISCOVERY
    return told


def _rules(policy: Configuration) -> list[Spec]:
    told = policy.spec.get("jwtRules")
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list | tuple) else []


def _keys(rule: Spec, key_sets: Mapping[str, str]) -> str:
    if not rule.get("jwks"):
        return key_sets.get(key_set_address(rule), NO_KEYS)
    try:
        return parse_key_set(str(rule["jwks"]))
    except MalformedKeySetError:
        return NO_KEYS


def _provider(issuer: Issuer) -> config_pb2.JwtProvider:
    told = issuer.spec
    if not isinstance(told.get("issuer"), str) or not told["issuer"]:
        raise TypeError("expected an issuer, found none")  # an empty one would take tokens of any
    provider = config_pb2.JwtProvider(
        issuer=told["issuer"],
        audiences=told.get("audiences") or (),
        local_jwks={"inline_string": issuer.keys},
        forward=bool(told.get("forwardOriginalToken")),
        forward_payload_header=told.get("outputPayloadToHeader") or "",
        payload_in_metadata=PAYLOAD,
    )
    provider.normalize_payload_in_metadata.space_delimited_claims.extend(
        dict.fromkeys((*SPACE_DELIMITED, *(told.get("spaceDelimitedClaims") or ())))
    )
    for header in told.get("fromHeaders") or ():
        provider.from_headers.add(name=header["name"], value_prefix=header.get("prefix") or "")
    provider.from_params.extend(told.get("fromParams") or ())
    provider.from_cookies.extend(told.get("fromCookies") or ())
    for claim in told.get("outputClaimToHeaders") or ():
        provider.claim_to_headers.add(header_name=claim["header"], claim_name=claim["claim"])
    return provider
