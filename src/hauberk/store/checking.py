"""Whether an object may be written: it is what the path says, as its schema wants it, by the rules of its kind."""

from datetime import datetime
from typing import Any

import msgspec

from hauberk.model.kind import Kind, Object
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import drop_nulls, parse
from hauberk.store import custom_resources, status
from hauberk.store.lifecycle import timestamp
from hauberk.store.options import Options
from hauberk.store.registry import Registry, resource_name
from hauberk.store.schema import conform
from hauberk.store.storage import Stored


def check_identity(kind: Kind, namespace: str, obj: Object) -> dict[str, Any]:
    """The object's metadata, well-formed, if the object is what the request's path says.

    Raises `ApiError` 400.
    """
    if obj.get("kind", kind.name) != kind.name:
        raise status.bad_request(
            f"the kind in the data ({obj.get('kind')}) does not match the expected kind ({kind.name})"
        )
    if obj.get("apiVersion", kind.api_version) != kind.api_version:
        raise status.bad_request(
            f"the API version in the data ({obj.get('apiVersion')}) does not match the expected API version "
            f"({kind.api_version})"
        )
    obj["apiVersion"], obj["kind"] = kind.api_version, kind.name
    metadata: Object = obj.setdefault("metadata", {})
    drop_nulls(metadata)
    try:
        parse(ObjectMeta, metadata)
    except msgspec.ValidationError as error:
        raise status.bad_request(f"{kind.name}: metadata: {error}") from error
    if kind.namespaced:
        if metadata.setdefault("namespace", namespace) != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
    else:
        metadata.pop("namespace", None)
    # What only an API server with server-side apply keeps, or none any more.
    for name in ("managedFields", "selfLink"):
        metadata.pop(name, None)
    return metadata


def check_preconditions(kind: Kind, stored: Stored, uid: str, resource_version: str) -> None:
    """Raises `ApiError` 409 if `stored` is another object, or another version, than was meant."""
    metadata = stored.object["metadata"]
    if uid and uid != metadata["uid"]:
        raise status.conflict(
            kind,
            stored.key.name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}",
        )
    if resource_version and resource_version != metadata["resourceVersion"]:
        raise status.conflict(kind, stored.key.name)


def check(
    kind: Kind, obj: Object, old: Object | None, options: Options, *, registry: Registry, now: datetime
) -> None:
    """Fill defaults, drop what the schema does not know, and say everything that is wrong at once.

    Raises `ApiError` 400 or 422.
    """
    name = str(obj["metadata"]["name"])
    kind.default(obj)
    findings = conform(obj, kind.schema, secret=kind.sensitive)
    if findings.unknown:
        words = [f'unknown field "{path}"' for path in findings.unknown]
        if options.field_validation == "Strict":
            raise status.bad_request(
                f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: '
                f"strict decoding error: {', '.join(words)}"
            )
        if options.field_validation == "Warn":
            options.warnings += [word for word in words if word not in options.warnings]
    # Rules suppose that the schema holds.
    errors = findings.errors or kind.admit(obj, old)
    if resource_name(kind) == custom_resources.RESOURCE and not errors:
        errors += custom_resources.definition_errors(obj, registry)
        if not errors:
            custom_resources.establish(obj, timestamp(now))
    if errors:
        raise status.invalid(kind, name, errors)
