"""The life of an object: what the API writes into it when it is made, changed and deleted. Pure but for chance."""

import copy
import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hauberk.model.defaults.workloads import select_own_pods
from hauberk.model.kind import FieldError, Kind, Object
from hauberk.store import status
from hauberk.store.options import DeleteOptions

GRACE_SECONDS = 30
MOST_GRACE_SECONDS = 2**31 - 1
"""Whatever was asked for: a date must stay one (admission refuses more, but has not always)."""
SYSTEM_METADATA = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)


def prepare_creation(kind: Kind, obj: Object, now: datetime) -> None:
    """Give a new object its name, UID and time, and take out what only the API may say, in place.

    Raises `ApiError` 422 without a name.
    """
    metadata = obj["metadata"]
    for name in SYSTEM_METADATA:
        metadata.pop(name, None)
    if not metadata.get("name") and metadata.get("generateName"):
        alphabet = "bcdfghjklmnpqrstvwxz2456789"
        suffix = "".join(secrets.choice(alphabet) for _ in range(5))
        metadata["name"] = str(metadata["generateName"])[:58] + suffix
    if not metadata.get("name"):
        raise status.invalid(
            kind,
            "",
            [
                FieldError(
                    "metadata.name",
                    "Required value: name or generateName is required",
                    "FieldValueRequired",
                )
            ],
        )
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = timestamp(now)
    if "spec" in (kind.schema.get("properties") or {}):
        metadata["generation"] = 1
    if "status" in kind.subresources and (kind.group, kind.plural) != ("", "nodes"):
        obj.pop("status", None)
    if (kind.group, kind.plural) == ("", "pods"):
        obj["status"] = {"phase": "Pending"}
    if (kind.group, kind.plural) == ("batch", "jobs"):
        select_own_pods(obj)
    if (kind.group, kind.plural) == ("", "namespaces"):
        _set_finalizers(obj, ["kubernetes"])
        obj["status"] = {"phase": "Active"}
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]


def prepare_update(kind: Kind, new: Object, old: Object, subresource: str) -> None:
    """Keep of `old` what this write may not change, in place. Raises `ApiError` 422 for a late finalizer."""
    metadata, was = new["metadata"], old["metadata"]
    for name in SYSTEM_METADATA:
        metadata.pop(name, None)
        if name in was:
            metadata[name] = was[name]
    if subresource == "status":
        state = new.get("status")
        new.clear()
        new.update(copy.deepcopy({key: value for key, value in old.items() if key != "status"}))
        if state is not None:
            new["status"] = state
    elif "status" in kind.subresources:
        new.pop("status", None)
        if "status" in old:
            new["status"] = copy.deepcopy(old["status"])
    if subresource != "finalize" and (kind.group, kind.plural) == ("", "namespaces"):
        _set_finalizers(new, (old.get("spec") or {}).get("finalizers", []))
    if was.get("deletionTimestamp"):
        added = set(metadata.get("finalizers") or ()) - set(was.get("finalizers") or ())
        if added:
            raise status.invalid(
                kind,
                was["name"],
                [
                    FieldError(
                        "metadata.finalizers",
                        "Forbidden: no new finalizers can be added if the object is being deleted, "
                        f"found {sorted(added)}",
                        "FieldValueForbidden",
                    )
                ],
            )


def _set_finalizers(namespace: Object, finalizers: list[str]) -> None:
    """Of its content; a spec that is none is left to the schema to refuse."""
    spec = namespace.get("spec") or {}
    if isinstance(spec, dict):
        namespace["spec"] = {**spec, "finalizers": finalizers}


def marked_for_deletion(kind: Kind, obj: Object, options: DeleteOptions, now: datetime) -> Object:
    """The object as it is once its deletion was asked for."""
    new = copy.deepcopy(obj)
    metadata = new["metadata"]
    finalizers = [f for f in metadata.get("finalizers") or [] if f not in {"orphan", "foregroundDeletion"}]
    if options.propagation == "Orphan":
        finalizers.append("orphan")
    elif options.propagation == "Foreground":
        finalizers.append("foregroundDeletion")
    elif metadata.get("deletionTimestamp"):
        finalizers = metadata.get("finalizers") or []
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    grace = _grace(kind, new, options)
    before = metadata.get("deletionGracePeriodSeconds")
    if metadata.get("deletionTimestamp") and before is not None and grace >= before:
        return new
    if (kind.group, kind.plural) == ("", "namespaces"):
        new.setdefault("status", {})["phase"] = "Terminating"
    if not metadata.get("deletionTimestamp") and "generation" in metadata:
        metadata["generation"] += 1
    metadata["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace))
    metadata["deletionGracePeriodSeconds"] = grace
    return new


def spec_of(obj: Object) -> Mapping[str, Any]:
    """What the user asks for: everything but metadata and status."""
    return {key: value for key, value in obj.items() if key not in {"metadata", "status"}}


def is_finished(obj: Object) -> bool:
    """Whether nothing holds a deleted object any more: no finalizer, no grace period, no content."""
    metadata = obj["metadata"]
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not (
            obj["kind"] == "Namespace"
            and obj["apiVersion"] == "v1"
            and (obj.get("spec") or {}).get("finalizers")
        )
    )


def _grace(kind: Kind, obj: Object, options: DeleteOptions) -> int:
    """Only a pod that a node runs is given time to end."""
    if (kind.group, kind.plural) != ("", "pods"):
        return 0
    spec = obj.get("spec") or {}
    if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return 0
    if options.grace_period_seconds is not None:
        asked = options.grace_period_seconds
    else:
        asked = spec.get("terminationGracePeriodSeconds", GRACE_SECONDS)
    return int(min(max(0, asked), MOST_GRACE_SECONDS))


def timestamp(moment: datetime) -> str:
    """RFC 3339, in seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
