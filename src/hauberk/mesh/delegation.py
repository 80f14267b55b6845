"""`delegate` of a VirtualService: the routes of another one, narrowed by the match that leads to them (Istio).

A VirtualService without hosts is for being delegated to, and serves nothing by itself. Where a match of the one and a
match of the other cannot both hold, there is no route.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from hauberk.mesh.hosts import resolve_host
from hauberk.mesh.registry import Configuration, Key, Mesh, exported

Spec = Mapping[str, Any]

_TEXTS = ("uri", "scheme", "method", "authority")
_BY_NAME = ("headers", "withoutHeaders", "queryParams", "sourceLabels")
_SINGLE = ("port", "sourceNamespace")
_INHERITED = (
    "rewrite",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirrors",
    "mirrorPercent",
    "mirror_percent",
    "mirrorPercentage",
    "corsPolicy",
    "headers",
)
"""What a route of the delegate has of the one that leads to it, unless it says so itself."""


def delegated(services: Iterable[Configuration], mesh: Mesh) -> list[Configuration]:
    """The VirtualServices with hosts, their delegates' routes put in."""
    found = list(services)
    delegates = {one.key: one for one in found if not one.spec.get("hosts")}
    return [_filled(one, delegates, mesh) for one in found if one.spec.get("hosts")]


def _filled(root: Configuration, delegates: Mapping[Key, Configuration], mesh: Mesh) -> Configuration:
    told = root.spec.get("http") or ()
    if not any(route.get("delegate") for route in told):
        return root
    routes: list[Spec] = []
    for route in told:
        if route.get("delegate"):
            routes += _routes(root, route, delegates, mesh)
        else:
            routes.append(route)
    return replace(root, spec={**root.spec, "http": routes})


def _routes(
    root: Configuration, route: Spec, delegates: Mapping[Key, Configuration], mesh: Mesh
) -> Iterator[Spec]:
    """The delegate's routes; none if it is not there or not for this namespace. A delegate delegates no further."""
    name = route["delegate"]
    delegate = delegates.get((name.get("namespace") or root.namespace, name["name"]))
    if delegate is None:
        return
    if not exported(frozenset(delegate.spec.get("exportTo") or ()), delegate.namespace, root.namespace):
        return
    for own in delegate.spec.get("http") or ():
        if own.get("delegate"):
            continue
        matches = list(_matches(route.get("match") or (), own.get("match") or ()))
        if not matches and (route.get("match") or own.get("match")):
            continue
        made = {key: route[key] for key in _INHERITED if route.get(key) is not None}
        made |= {
            key: value for key, value in _resolved(own, delegate.namespace, mesh).items() if value is not None
        }
        made["name"] = "-".join(part for part in (route.get("name"), own.get("name")) if part)
        made["match"] = matches
        yield made


def _resolved(route: Spec, namespace: str, mesh: Mesh) -> dict[str, Any]:
    """The route with its short hosts in full: they are meant in the delegate's namespace."""

    def destination(told: Spec) -> dict[str, Any]:
        return {**told, "host": resolve_host(told["host"], namespace, mesh)}

    made = dict(route)
    for name in ("route", "mirrors"):
        if route.get(name):
            made[name] = [{**one, "destination": destination(one["destination"])} for one in route[name]]
    if route.get("mirror"):
        made["mirror"] = destination(route["mirror"])
    return made


def _matches(roots: Iterable[Spec], leaves: Iterable[Spec]) -> Iterator[Spec]:
    """Every pair that can both hold, as one."""
    all_roots, all_leaves = list(roots), list(leaves)
    if not all_roots or not all_leaves:
        yield from all_roots or all_leaves
        return
    for root in all_roots:
        for leaf in all_leaves:
            if not _conflict(root, leaf):
                yield _merged(root, leaf)


def _merged(root: Spec, leaf: Spec) -> dict[str, Any]:
    made = {**root, **{key: value for key, value in leaf.items() if value is not None}}
    for name in _BY_NAME:
        if root.get(name) or leaf.get(name):
            made[name] = {**(root.get(name) or {}), **(leaf.get(name) or {})}
    made["name"] = "-".join(part for part in (root.get("name"), leaf.get("name")) if part)
    if root.get("gateways"):
        made["gateways"] = root["gateways"]
    return made


def _conflict(root: Spec, leaf: Spec) -> bool:
    if bool(root.get("ignoreUriCase")) != bool(leaf.get("ignoreUriCase")):
        return True
    for name in _SINGLE:
        if root.get(name) and leaf.get(name) and root[name] != leaf[name]:
            return True
    if any(_texts_conflict(root.get(name), leaf.get(name)) for name in _TEXTS):
        return True
    for name in _BY_NAME:
        mine, theirs = root.get(name) or {}, leaf.get(name) or {}
        for key in mine.keys() & theirs.keys():
            told = mine[key], theirs[key]
            if told[0] != told[1] and (name == "sourceLabels" or _texts_conflict(*told)):
                return True
    return False


def _texts_conflict(root: Spec | None, leaf: Spec | None) -> bool:
    """Whether the delegate's text match is not within the other: regular expressions are within nothing."""
    if not root or not leaf or root == leaf:
        return False
    if root.get("exact") is not None:
        return bool(leaf.get("exact") != root["exact"])
    if root.get("prefix") is not None:
        told = leaf.get("prefix") if leaf.get("prefix") is not None else leaf.get("exact")
        return told is None or not str(told).startswith(root["prefix"])
    return True
