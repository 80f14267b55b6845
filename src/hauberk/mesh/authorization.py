"""AuthorizationPolicy → Envoy RBAC (Istio, "Authorization Policy"): CUSTOM, then DENY, then ALLOW; AUDIT notes.

A policy in dry run (Istio's annotation `istio.io/dry-run`) stands in the shadow rules of its action's filter.

What a CUSTOM policy matches an authorizer is asked about (`external_authorization.py`). Where nobody can be asked it
is refused: the authorizer is not there, or it speaks HTTP and the connection is plain TCP.

Over TCP a rule that speaks of HTTP cannot hold: an ALLOW rule with it never matches, a DENY rule loses
that part and so matches more.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3 import address_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.type.matcher.v3 import metadata_pb2, path_pb2, string_pb2, value_pb2

from hauberk.mesh import external_authorization, filters
from hauberk.mesh.external_authorization import SELECTED
from hauberk.mesh.mesh_config import Authorizer
from hauberk.mesh.policy_targets import applies
from hauberk.mesh.registry import Configuration, Labels, Mesh
from hauberk.mesh.request_authentication import FILTER, PAYLOAD
from hauberk.mesh.text_match import quoted, wild

_log = logging.getLogger(__name__)

_URI_PREFIX = "spiffe://"
_ACTIONS = frozenset({"ALLOW", "DENY", "AUDIT"})


class UnsupportedConditionError(ValueError):
    """A `when` key that this mesh does not know."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One RBAC filter, and the authorizer that is asked about what its shadow rules select."""

    rules: rbac_pb2.RBAC | None = None
    shadow_rules: rbac_pb2.RBAC | None = None
    shadow_prefix: str = ""
    authorizer: Authorizer | None = None


@dataclass(frozen=True, slots=True)
class Authorization:
    """The policies that apply to one workload."""

    policies: tuple[Configuration, ...]
    trust_domain: str
    revision: str
    authorizers: tuple[Authorizer, ...] = ()
    """Those that its CUSTOM policies name and that are there, by name."""

    def http_filters(self) -> list[http_connection_manager_pb2.HttpFilter]:
        """In the order of evaluation; none when no policy applies."""
        made = []
        for step in self._steps(http=True):
            config = http_rbac_pb2.RBAC(rules=step.rules, shadow_rules=step.shadow_rules)
            config.shadow_rules_stat_prefix = step.shadow_prefix
            made.append(filters.http_filter("envoy.filters.http.rbac", config))
            if step.authorizer is not None:
                made.append(external_authorization.http_filter(step.authorizer))
        return made

    def network_filters(self) -> list[listener_components_pb2.Filter]:
        """The same for plain TCP."""
        made = []
        for step in self._steps(http=False):
            config = network_rbac_pb2.RBAC(
                stat_prefix="tcp.", rules=step.rules, shadow_rules=step.shadow_rules
            )
            config.shadow_rules_stat_prefix = step.shadow_prefix
            made.append(filters.network_filter("envoy.filters.network.rbac", config))
            if step.authorizer is not None:
                made.append(external_authorization.network_filter(step.authorizer))
        return made

    def _steps(self, *, http: bool) -> list[_Step]:
        asked = {one.name: one for one in self.authorizers if http or one.grpc}
        custom: dict[str, list[Configuration]] = {}
        by_action: dict[str, list[Configuration]] = {}
        tried: dict[str, list[Configuration]] = {}
        for policy in self.policies:
            action = policy.spec.get("action") or "ALLOW"
            authorizer = provider_of(policy)
            if policy.dry_run:
                # Nobody is asked, and nothing is noted, in dry run: of CUSTOM and AUDIT nothing is left.
                tried.setdefault(action, []).append(policy)
            elif authorizer in asked:
                custom.setdefault(authorizer, []).append(policy)
            else:
                # Nobody can be asked (CUSTOM): what should be asked about is refused; so is what is unknown.
                by_action.setdefault(action if action in _ACTIONS else "DENY", []).append(policy)
        made: list[_Step] = []
        if "AUDIT" in by_action:
            noted = self._translate(by_action["AUDIT"], "ALLOW", denies=False, http=http)
            made.append(_Step(shadow_rules=noted, shadow_prefix="audit_"))
        for name, policies in sorted(custom.items()):
            selecting = self._translate(policies, "DENY", denies=True, http=http, prefix=SELECTED)
            prefix = external_authorization.selection_prefix(asked[name])
            made.append(_Step(shadow_rules=selecting, shadow_prefix=prefix, authorizer=asked[name]))
        for action in ("DENY", "ALLOW"):
            rules, shadow = (
                self._translate(chosen[action], action, denies=action == "DENY", http=http)
                if action in chosen
                else None
                for chosen in (by_action, tried)
            )
            if rules is not None or shadow is not None:
                prefix = f"istio_dry_run_{action.lower()}_" if shadow is not None else ""
                made.append(_Step(rules=rules, shadow_rules=shadow, shadow_prefix=prefix))
        return made

    def _translate(
        self,
        policies: Sequence[Configuration],
        envoy_action: str,
        *,
        denies: bool,
        http: bool,
        prefix: str = "",
    ) -> rbac_pb2.RBAC:
        rbac = rbac_pb2.RBAC(action=envoy_action)
        for policy in policies:
            rules = policy.spec.get("rules") or ()
            for index, rule in enumerate(rules if isinstance(rules, list | tuple) else [rules]):
                translated = self._rule(policy, index, rule, denies=denies, http=http)
                if translated is not None:
                    rbac.policies[prefix + policy_name(policy, index)].CopyFrom(translated)
        return rbac

    def _rule(
        self, policy: Configuration, index: int, rule: Mapping[str, Any], *, denies: bool, http: bool
    ) -> rbac_pb2.Policy | None:
        """A rule that makes no sense (the API admits none) fails closed: it allows nothing, or denies everything."""
        try:
            return _Rule(rule, self.trust_domain, policy.namespace, denies=denies, http=http).translate()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _log.error("authorization: %s: %s", policy_name(policy, index), error)
            if not denies:
                return None
            everything = rbac_pb2.Policy()
            everything.principals.add(any=True)
            everything.permissions.add(any=True)
            return everything


def policy_name(policy: Configuration, rule: int) -> str:
    """`ns[NAMESPACE]-policy[NAME]-rule[INDEX]`, as call records and `why` show it."""
    return f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{rule}]"


def provider_of(policy: Configuration) -> str:
    """The authorizer that a CUSTOM policy names; empty for all other policies."""
    if policy.spec.get("action") != "CUSTOM":
        return ""
    try:
        return str((policy.spec.get("provider") or {}).get("name") or "")
    except AttributeError:
        return ""


def authorize(
    policies: Iterable[Configuration], mesh: Mesh, authorizers: Mapping[str, Authorizer] | None = None
) -> Authorization:
    """The policies of one workload, with a revision that is a hash of their content and of who is asked."""
    ordered = tuple(sorted(policies, key=lambda policy: (policy.namespace, policy.name)))
    if not ordered:
        return Authorization((), mesh.trust_domain, "0" * 16)
    known = authorizers or {}
    asked = tuple(known[name] for name in sorted({provider_of(one) for one in ordered} & known.keys()))
    content = [[policy.namespace, policy.name, policy.spec, policy.dry_run] for policy in ordered]
    content += [[one.name, one.cluster, one.told] for one in asked]
    digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8)
    return Authorization(ordered, mesh.trust_domain, digest.hexdigest(), asked)


def select_authorization_policies(
    policies: Iterable[Configuration], namespace: str, labels: Labels, mesh: Mesh
) -> tuple[Configuration, ...]:
    """Those of the workload's namespace and of the root namespace that apply to it."""
    return tuple(policy for policy in policies if applies(policy, namespace, labels, mesh))


class _Rule:
    """One rule: any of `from`, any of `to`, all of `when`."""

    def __init__(
        self, rule: Mapping[str, Any], trust_domain: str, namespace: str, *, denies: bool, http: bool
    ) -> None:
        self._rule = rule
        self._trust_domain = trust_domain
        self._namespace = namespace
        self._denies = denies
        self._http = http

    def translate(self) -> rbac_pb2.Policy | None:
        """None for a rule that can never hold."""
        principals = [self._source(entry.get("source") or {}) for entry in self._rule.get("from") or ()]
        permissions = [self._operation(entry.get("operation") or {}) for entry in self._rule.get("to") or ()]
        conditions = [self._condition(condition) for condition in self._rule.get("when") or ()]
        if any(condition is None for condition in conditions):
            return None
        about_source = [one for condition in conditions if condition for one in condition[0]]
        about_target = [one for condition in conditions if condition for one in condition[1]]
        principal = _any_principal([one for one in principals if one is not None], bool(principals))
        permission = _any_permission([one for one in permissions if one is not None], bool(permissions))
        if principal is None or permission is None:
            return None
        return rbac_pb2.Policy(
            principals=[_all_principals([principal, *about_source])],
            permissions=[_all_permissions([permission, *about_target])],
        )

    def _source(self, source: Mapping[str, Any]) -> rbac_pb2.Principal | None:
        matches: list[rbac_pb2.Principal] = []
        for key, make in self._source_fields().items():
            for field, negate in ((key, False), (_negated(key), True)):
                values = source.get(field) or ()
                if not values:
                    continue
                if key in _HTTP_SOURCES and not self._http:
                    if not self._denies:
                        return None
                    continue
                made = _or_principals([make(value) for value in values])
                matches.append(rbac_pb2.Principal(not_id=made) if negate else made)
        return _all_principals(matches)

    def _source_fields(self) -> dict[str, Callable[[str], rbac_pb2.Principal]]:
        return {
            "principals": self._principal,
            "namespaces": _namespace_principal,
            "serviceAccounts": self._service_account,
            "ipBlocks": _direct_address,
            "remoteIpBlocks": _remote_address,
            "requestPrincipals": _request_principal,
            "trustDomains": _trust_domain,
        }

    def _principal(self, value: str) -> rbac_pb2.Principal:
        return _authenticated(_principal_matcher(value, self._trust_domain))

    def _service_account(self, value: str) -> rbac_pb2.Principal:
        namespace, slash, name = value.rpartition("/")
        namespace = namespace if slash else self._namespace
        return _authenticated(_regex(f"{_URI_PREFIX}[^/]+/ns/{quoted(namespace)}/sa/{quoted(name)}"))

    def _operation(self, operation: Mapping[str, Any]) -> rbac_pb2.Permission | None:
        matches: list[rbac_pb2.Permission] = []
        for key, make in _OPERATIONS.items():
            for field, negate in ((key, False), (_negated(key), True)):
                values = operation.get(field) or ()
                if not values:
                    continue
                if key != "ports" and not self._http:
                    if not self._denies:
                        return None
                    continue
                made = _or_permissions([make(value) for value in values])
                matches.append(rbac_pb2.Permission(not_rule=made) if negate else made)
        return _all_permissions(matches)

    def _condition(
        self, condition: Mapping[str, Any]
    ) -> tuple[list[rbac_pb2.Principal], list[rbac_pb2.Permission]] | None:
        """Principals and permissions that must all hold; None if the rule cannot hold over TCP."""
        key = condition["key"]
        values, excluded = condition.get("values") or (), condition.get("notValues") or ()
        if _is_http_condition(key) and not self._http:
            return ([], []) if self._denies else None
        made_principal = self._condition_principal(key)
        if made_principal:
            principals = [_or_principals([made_principal(value) for value in values])] if values else []
            if excluded:
                unwanted = _or_principals([made_principal(value) for value in excluded])
                principals.append(rbac_pb2.Principal(not_id=unwanted))
            return principals, []
        made_permission = _CONDITION_PERMISSIONS.get(key)
        if made_permission is None:
            raise UnsupportedConditionError(
                f"spec.rules.when.key: expected a key that Istio documents, such as source.namespace or "
                f"request.headers[NAME], found {key!r}"
            )
        permissions = [_or_permissions([made_permission(value) for value in values])] if values else []
        if excluded:
            unwanted_permission = _or_permissions([made_permission(value) for value in excluded])
            permissions.append(rbac_pb2.Permission(not_rule=unwanted_permission))
        return [], permissions

    def _condition_principal(self, key: str) -> Callable[[str], rbac_pb2.Principal] | None:
        if key.startswith("request.headers["):
            name = key[len("request.headers[") : -1]
            return lambda value: rbac_pb2.Principal(header=_header(name, value))
        if key.startswith("request.auth.claims["):
            path = key[len("request.auth.claims[") : -1].split("][")
            return lambda value: _claim(path, value)
        return {
            "request.auth.principal": _request_principal,
            "request.auth.audiences": lambda value: _claim(["aud"], value),
            "request.auth.presenter": lambda value: _claim(["azp"], value),
            "source.ip": _direct_address,
            "remote.ip": _remote_address,
            "source.namespace": _namespace_principal,
            "source.principal": self._principal,
            "source.serviceAccount": self._service_account,
        }.get(key)


_HTTP_SOURCES = frozenset({"remoteIpBlocks", "requestPrincipals"})


def _is_http_condition(key: str) -> bool:
    return key.startswith("request.") or key == "remote.ip"


def _negated(field: str) -> str:
    return "not" + field[0].upper() + field[1:]


def _principal_matcher(value: str, trust_domain: str) -> string_pb2.StringMatcher:
    """`cluster.local/ns/NS/sa/NAME` with a `*` at either end; `cluster.local` stands for our trust domain."""
    if value == "*":
        return _regex(".+")
    if value.startswith("cluster.local/"):
        value = f"{trust_domain}/{value[len('cluster.local/') :]}"
    if value.startswith("*"):
        suffix = value[1:]
        return string_pb2.StringMatcher(suffix=suffix)
    if value.endswith("*"):
        return string_pb2.StringMatcher(prefix=_URI_PREFIX + value[:-1])
    return string_pb2.StringMatcher(exact=_URI_PREFIX + value)


def _namespace_principal(value: str) -> rbac_pb2.Principal:
    pattern = wild(value, "[^/]*") if value != "*" else "[^/]+"
    return _authenticated(_regex(f"{_URI_PREFIX}[^/]+/ns/{pattern}/sa/[^/]+"))


def _authenticated(matcher: string_pb2.StringMatcher) -> rbac_pb2.Principal:
    return rbac_pb2.Principal(authenticated=rbac_pb2.Principal.Authenticated(principal_name=matcher))


def _cidr(value: str) -> address_pb2.CidrRange:
    network = ipaddress.ip_network(value, strict=False)
    return address_pb2.CidrRange(
        address_prefix=str(network.network_address), prefix_len={"value": network.prefixlen}
    )


def _direct_address(value: str) -> rbac_pb2.Principal:
    return rbac_pb2.Principal(direct_remote_ip=_cidr(value))


def _remote_address(value: str) -> rbac_pb2.Principal:
    return rbac_pb2.Principal(remote_ip=_cidr(value))


def _trust_domain(value: str) -> rbac_pb2.Principal:
    pattern = wild(value, "[^/]*") if value != "*" else "[^/]+"
    return _authenticated(_regex(f"{_URI_PREFIX}{pattern}/.*"))


def _request_principal(value: str) -> rbac_pb2.Principal:
    """`ISSUER/SUBJECT` of a verified token, with a `*` at either end; an issuer may have slashes in it."""
    issuer, slash, subject = value.rpartition("/")
    if value == "*":
        issuer, subject = "*", "*"
    elif not slash and value.startswith("*"):
        issuer, subject = "*", value
    elif not slash:
        issuer, subject = value, "*"
    return _all_principals([_claim(["iss"], issuer), _claim(["sub"], subject)])


def _claim(path: Sequence[str], value: str) -> rbac_pb2.Principal:
    """A claim of a verified token that is this text, or a list with it."""
    text = value_pb2.ValueMatcher(string_match=_text(value))
    either = value_pb2.ValueMatcher(
        or_match={"value_matchers": [text, value_pb2.ValueMatcher(list_match={"one_of": text})]}
    )
    matcher = metadata_pb2.MetadataMatcher(filter=FILTER, value=either)
    for key in (PAYLOAD, *path):
        matcher.path.add(key=key)
    return rbac_pb2.Principal(metadata=matcher)


def _text(value: str, *, ignore_case: bool = False) -> string_pb2.StringMatcher:
    """Istio's string match: exact, `prefix*`, `*suffix`, or `*` for anything that is there."""
    if value == "*":
        return _regex(".+")
    if value.startswith("*"):
        return string_pb2.StringMatcher(suffix=value[1:], ignore_case=ignore_case)
    if value.endswith("*"):
        return string_pb2.StringMatcher(prefix=value[:-1], ignore_case=ignore_case)
    return string_pb2.StringMatcher(exact=value, ignore_case=ignore_case)


def _regex(pattern: str) -> string_pb2.StringMatcher:
    return string_pb2.StringMatcher(safe_regex={"regex": pattern})


def _header(name: str, value: str, *, ignore_case: bool = False) -> route_components_pb2.HeaderMatcher:
    if value == "*":
        return route_components_pb2.HeaderMatcher(name=name, present_match=True)
    return route_components_pb2.HeaderMatcher(name=name, string_match=_text(value, ignore_case=ignore_case))


def _method(value: str) -> rbac_pb2.Permission:
    return rbac_pb2.Permission(header=_header(":method", value))


def _host(value: str) -> rbac_pb2.Permission:
    return rbac_pb2.Permission(header=_header(":authority", value, ignore_case=True))


def _path(value: str) -> rbac_pb2.Permission:
    if "{*}" in value or "{**}" in value:
        return rbac_pb2.Permission(url_path=path_pb2.PathMatcher(path=_regex(_template(value))))
    return rbac_pb2.Permission(url_path=path_pb2.PathMatcher(path=_text(value)))


def _template(value: str) -> str:
    """A path template: `{*}` is one segment, `{**}` any number."""
    out, rest = "", value
    while rest:
        if rest.startswith("{**}"):
            out, rest = out + ".*", rest[4:]
        elif rest.startswith("{*}"):
            out, rest = out + "[^/]+", rest[3:]
        else:
            out, rest = out + quoted(rest[0]), rest[1:]
    return out


def _port(value: str) -> rbac_pb2.Permission:
    return rbac_pb2.Permission(destination_port=int(value))


def _destination_address(value: str) -> rbac_pb2.Permission:
    return rbac_pb2.Permission(destination_ip=_cidr(value))


def _server_name(value: str) -> rbac_pb2.Permission:
    return rbac_pb2.Permission(requested_server_name=_text(value))


_OPERATIONS: dict[str, Callable[[str], rbac_pb2.Permission]] = {
    "hosts": _host,
    "ports": _port,
    "methods": _method,
    "paths": _path,
}

_CONDITION_PERMISSIONS: dict[str, Callable[[str], rbac_pb2.Permission]] = {
    "destination.ip": _destination_address,
    "destination.port": _port,
    "connection.sni": _server_name,
}


def _or_principals(principals: Sequence[rbac_pb2.Principal]) -> rbac_pb2.Principal:
    return principals[0] if len(principals) == 1 else rbac_pb2.Principal(or_ids={"ids": principals})


def _all_principals(principals: Sequence[rbac_pb2.Principal]) -> rbac_pb2.Principal:
    real = [one for one in principals if not one.any]
    if not real:
        return rbac_pb2.Principal(any=True)
    return real[0] if len(real) == 1 else rbac_pb2.Principal(and_ids={"ids": real})


def _any_principal(principals: Sequence[rbac_pb2.Principal], told: bool) -> rbac_pb2.Principal | None:
    if principals:
        return _or_principals(principals)
    return None if told else rbac_pb2.Principal(any=True)


def _or_permissions(permissions: Sequence[rbac_pb2.Permission]) -> rbac_pb2.Permission:
    return permissions[0] if len(permissions) == 1 else rbac_pb2.Permission(or_rules={"rules": permissions})


def _all_permissions(permissions: Sequence[rbac_pb2.Permission]) -> rbac_pb2.Permission:
    real = [one for one in permissions if not one.any]
    if not real:
        return rbac_pb2.Permission(any=True)
    return real[0] if len(real) == 1 else rbac_pb2.Permission(and_rules={"rules": real})


def _any_permission(permissions: Sequence[rbac_pb2.Permission], told: bool) -> rbac_pb2.Permission | None:
    if permissions:
        return _or_permissions(permissions)
    return None if told else rbac_pb2.Permission(any=True)
