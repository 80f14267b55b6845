"""What the API publishes about itself: OpenAPI v3 by group and version, and v2 in one document. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any

from hauberk.model.kind import Kind, Object
from hauberk.store.registry import Registry

INFO = {"title": "Hauberk", "version": "v1.32.0"}
WRITE_PARAMETERS = {
    "dryRun": "When present, nothing is stored. The one value is All.",
    "fieldManager": "A name for who makes this change.",
    "fieldValidation": "What to do with unknown fields: Ignore, Warn or Strict.",
}
V2_DROPPED = {"nullable", "oneOf", "anyOf", "not", "allOf"}


def index_v3(registry: Registry) -> Object:
    """`/openapi/v3`: where each group and version's document is, under a hash of what it says."""
    paths = {}
    for group, version in _group_versions(registry):
        where = f"apis/{group}/{version}" if group else f"api/{version}"
        stamp = hashlib.sha256(f"{registry.generation}/{where}".encode()).hexdigest()[:32].upper()
        paths[where] = {"serverRelativeURL": f"/openapi/v3/{where}?hash={stamp}"}
    return {"paths": paths}


def document_v3(registry: Registry, group: str, version: str) -> Object | None:
    """The document of one group and version; None if it is not served."""
    kinds = registry.kinds(group, version)
    if not kinds:
        return None
    return {
        "openapi": "3.0.0",
        "info": INFO,
        "paths": _paths(kinds, v3=True),
        "components": {"schemas": {definition_name(kind): _definition(kind) for kind in kinds}},
    }


def document_v2(registry: Registry) -> Object:
    """`/openapi/v2`, all of it; what OpenAPI v2 cannot say is left out."""
    kinds = list(registry)
    return {
        "swagger": "2.0",
        "info": INFO,
        "paths": _paths(kinds, v3=False),
        "definitions": {definition_name(kind): _without_v3(_definition(kind)) for kind in kinds},
    }


def definition_name(kind: Kind) -> str:
    """`io.k8s.api.apps.v1.Deployment`; groups with a domain are reversed: `io.istio.networking.v1.Gateway`."""
    group = kind.group or "core"
    if group.endswith(".k8s.io"):
        group = group.removesuffix(".k8s.io")
        group = "io.k8s.api." + ".".join(reversed(group.split(".")))
    elif "." in group:
        group = ".".join(reversed(group.split(".")))
    else:
        group = f"io.k8s.api.{group}"
    return f"{group}.{kind.version}.{kind.name}"


def _group_versions(registry: Registry) -> list[tuple[str, str]]:
    return [(group, version) for group in ("", *registry.groups()) for version in registry.versions(group)]


def _definition(kind: Kind) -> Object:
    identity = {"group": kind.group, "version": kind.version, "kind": kind.name}
    properties = {
        "apiVersion": {"type": "string", "description": "The API group and version of this object."},
        "kind": {"type": "string", "description": "The kind of this object."},
        "metadata": {"type": "object", "description": "Standard object metadata."},
        **(kind.schema.get("properties") or {}),
    }
    return {
        **kind.schema,
        "type": "object",
        "properties": properties,
        "x-kubernetes-group-version-kind": [identity],
    }


def _paths(kinds: list[Kind], *, v3: bool) -> Object:
    paths: Object = {}
    for kind in kinds:
        base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        scope = "/namespaces/{namespace}" if kind.namespaced else ""
        collection = f"{base}{scope}/{kind.plural}"
        paths[collection] = _operations(kind, ("get", "post"), {"get": "list"}, v3=v3)
        paths[f"{collection}/{{name}}"] = _operations(kind, ("get", "put", "patch", "delete"), {}, v3=v3)
    return paths


def _operations(kind: Kind, methods: tuple[str, ...], actions: Mapping[str, str], *, v3: bool) -> Object:
    return {method: _operation(kind, method, actions.get(method, method), v3=v3) for method in methods}


def _operation(kind: Kind, method: str, action: str, *, v3: bool) -> Object:
    parameters = []
    if method in {"post", "put", "patch"}:
        for name, description in WRITE_PARAMETERS.items():
            shape: Object = {"schema": {"type": "string"}} if v3 else {"type": "string"}
            parameters.append({"name": name, "in": "query", "description": description, **shape})
    scope = "Namespaced" if kind.namespaced else ""
    group = (kind.group or "core").replace(".", " ").title().replace(" ", "")
    return {
        "operationId": f"{action}{group}{kind.version.capitalize()}{scope}{kind.name}",
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.name},
    }


def _without_v3(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_v3(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _without_v3(value) for key, value in schema.items() if key not in V2_DROPPED}
    if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string"):
        # A client must not reject what the server keeps.
        for key in ("properties", "type", "required", "items"):
            if isinstance(found.get(key), str | list) or key == "properties":
                found.pop(key, None)
    return found
