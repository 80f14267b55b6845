"""What names, labels and annotations may look like (RFC 1123, and Kubernetes' limits)."""

import re
from typing import Any

from hauberk.model.kind import FieldError, Kind
from hauberk.store.selectors import valid_label_key, valid_label_value

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
ANNOTATION_BYTES = 256 * 1024

LABEL_NAMED = {("", "namespaces"), ("", "services")}
PATH_NAMED_GROUP = "rbac.authorization.k8s.io"


def name_error(kind: Kind, name: str) -> FieldError | None:
    """Why an object of `kind` cannot have this name."""
    if kind.group == PATH_NAMED_GROUP:
        if name in {".", ".."} or "/" in name or "%" in name:
            return _wrong(name, "may not be '.' or '..', nor contain '/' or '%'")
        return None
    if (kind.group, kind.plural) in LABEL_NAMED:
        if not LABEL.fullmatch(name):
            return _wrong(
                name,
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
                "start and end with an alphanumeric character, of at most 63 characters",
            )
        return None
    if len(name) > 253 or not SUBDOMAIN.fullmatch(name):
        return _wrong(
            name,
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
            "must start and end with an alphanumeric character, of at most 253 characters",
        )
    return None


def metadata_errors(metadata: dict[str, Any]) -> list[FieldError]:
    """What is wrong with the labels, annotations, finalizers and owners of an object."""
    errors: list[FieldError] = []
    for field in ("labels", "annotations"):
        entries = metadata.get(field) or {}
        if not isinstance(entries, dict) or not all(isinstance(v, str) for v in entries.values()):
            errors.append(FieldError(f"metadata.{field}", "Invalid value: expected a map of strings"))
            continue
        for key, value in entries.items():
            if not valid_label_key(key.lower() if field == "annotations" else key):
                errors.append(
                    FieldError(
                        f"metadata.{field}",
                        f'Invalid value: "{key}": expected [PREFIX/]NAME, a qualified name',
                    )
                )
            if field == "labels" and not valid_label_value(value):
                errors.append(
                    FieldError(
                        "metadata.labels",
                        f"Invalid value: \"{value}\": expected at most 63 letters, digits, '-', '_' and '.', "
                        "beginning and ending with a letter or digit",
                    )
                )
    annotations = metadata.get("annotations") or {}
    if (
        isinstance(annotations, dict)
        and sum(len(k) + len(str(v)) for k, v in annotations.items()) > ANNOTATION_BYTES
    ):
        errors.append(
            FieldError("metadata.annotations", f"Too long: may not be more than {ANNOTATION_BYTES} bytes")
        )
    errors += _owner_errors(metadata.get("ownerReferences") or [])
    return errors


def _owner_errors(owners: list[dict[str, Any]]) -> list[FieldError]:
    errors = []
    for index, owner in enumerate(owners):
        errors += [
            FieldError(f"metadata.ownerReferences[{index}].{field}", "Required value", "FieldValueRequired")
            for field in ("apiVersion", "kind", "name", "uid")
            if not owner.get(field)
        ]
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        errors.append(
            FieldError(
                "metadata.ownerReferences",
                "Invalid value: only one reference can have controller set to true",
            )
        )
    return errors


def _wrong(name: str, why: str) -> FieldError:
    return FieldError("metadata.name", f'Invalid value: "{name}": {why}')
