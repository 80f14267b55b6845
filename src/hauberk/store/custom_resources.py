"""Kinds that CustomResourceDefinitions add while the server runs."""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from hauberk.model.kind import Column, FieldError, Kind, Object
from hauberk.model.kinds.definition import admit_metadata_alone
from hauberk.store.definition_schema import schema_errors
from hauberk.store.registry import Registry
from hauberk.store.storage import Change, Storage

RESOURCE = "customresourcedefinitions.apiextensions.k8s.io"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
"""Holds a deleted definition until its objects are gone."""
STEP = re.compile(r"\.([\w-]+|\*)|\['([^']+)'\]|\[(\d+)\]|\[\?\(@\.(\w+)\s*==\s*[\"']([^\"']*)[\"']\)\]")


def follow_definitions(storage: Storage, registry: Registry) -> None:
    """Serve the kinds of the definitions in the store, now and as they change."""
    for stored in storage.objects(RESOURCE):
        registry.define(stored.key.name, kinds_of(stored.object))

    def changed(change: Change) -> None:
        if change.now is None:
            registry.undefine(change.last.key.name)
        elif change.before is None or change.before.object.get("spec") != change.now.object.get("spec"):
            registry.define(change.now.key.name, kinds_of(change.now.object))

    storage.listen(RESOURCE, changed)


def kinds_of(definition: Object) -> tuple[Kind, ...]:
    """A kind for each version that the definition serves."""
    spec = definition["spec"]
    names = spec["names"]
    return tuple(
        Kind(
            group=spec["group"],
            version=version["name"],
            name=names["kind"],
            plural=names["plural"],
            namespaced=spec["scope"] == "Namespaced",
            schema=(version.get("schema") or {}).get("openAPIV3Schema")
            or {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=frozenset(version.get("subresources") or ()),
            columns=tuple(_column(column) for column in version.get("additionalPrinterColumns") or ()),
            selectable_fields=tuple(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or ()),
            admit=admit_metadata_alone,
        )
        for version in spec["versions"]
        if version.get("served", True)
    )


def definition_errors(definition: Object, registry: Registry) -> list[FieldError]:
    """What a definition may not be, beyond its schema."""
    spec = definition.get("spec") or {}
    names = spec.get("names") or {}
    errors = []
    expected = f"{names.get('plural')}.{spec.get('group')}"
    if definition["metadata"]["name"] != expected:
        found = definition["metadata"]["name"]
        errors.append(
            FieldError(
                "metadata.name",
                f'Invalid value: "{found}": must be spec.names.plural+"."+spec.group: {expected}',
            )
        )
    if sum(bool(version.get("storage")) for version in spec.get("versions") or ()) != 1:
        errors.append(
            FieldError(
                "spec.versions", "Invalid value: must have exactly one version marked as storage version"
            )
        )
    if registry.is_built_in(str(spec.get("group")), str(names.get("plural"))):
        errors.append(FieldError("spec.names.plural", f"Invalid value: {expected} is built in"))
    for index, version in enumerate(spec.get("versions") or ()):
        at = f"spec.versions[{index}].schema.openAPIV3Schema"
        if schema := (version.get("schema") or {}).get("openAPIV3Schema"):
            errors += schema_errors(schema, at)
        else:
            errors.append(FieldError(at, "Required value: schemas are required", "FieldValueRequired"))
    return errors


def establish(definition: Object, now: str) -> None:
    """Fill what the user left out, and say in the status that the kind is served, in place."""
    spec = definition["spec"]
    names = spec["names"]
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", names["kind"] + "List")
    spec.setdefault("conversion", {"strategy": "None"})
    metadata = definition["metadata"]
    if not metadata.get("deletionTimestamp") and FINALIZER not in (metadata.get("finalizers") or ()):
        metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FINALIZER]
    status = definition.setdefault("status", {})
    status["acceptedNames"] = copy.deepcopy(names)
    status["storedVersions"] = [version["name"] for version in spec["versions"] if version.get("storage")]
    if not status.get("conditions"):
        status["conditions"] = [
            {
                "type": type_,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": now,
            }
            for type_, reason, message in (
                ("NamesAccepted", "NoConflicts", "no conflicts found"),
                ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            )
        ]


def json_path(path: str) -> Callable[[Object], Any]:
    """The value at a simple JSONPath (`.spec.a`, `.items[0].b`, `.list[?(@.type=="Ready")].status`), or None."""
    steps = [match.groups() for match in STEP.finditer(path)]

    def value(obj: Object) -> Any:
        found: Any = obj
        for name, quoted, index, key, wanted in steps:
            if index is not None:
                found = found[int(index)] if isinstance(found, list) and int(index) < len(found) else None
            elif key is not None:
                items = found if isinstance(found, list) else []
                found = next((i for i in items if isinstance(i, dict) and str(i.get(key)) == wanted), None)
            elif name == "*":
                continue
            else:
                found = found.get(name or quoted) if isinstance(found, dict) else None
            if found is None:
                return None
        return found

    return value


def _column(column: Mapping[str, Any]) -> Column:
    read = json_path(column["jsonPath"])

    def value(obj: Object) -> Any:
        found = read(obj)
        return "" if found is None else found

    return Column(
        column["name"],
        column["type"],
        read if column["type"] == "date" else value,
        int(column.get("priority") or 0),
        str(column.get("description") or ""),
    )
