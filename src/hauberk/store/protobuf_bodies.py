"""Bodies in Kubernetes' protobuf form, for the small kinds that `kubectl create KIND` and `kubectl auth` send so.

A table a message says which field has which number (`generated.proto` of `k8s.io/api`). Answers are JSON, which
every client takes. Pure.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hauberk.store import status
from hauberk.store.client import ApiError

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"


@dataclass(frozen=True, slots=True)
class Field:
    """`type` is `string`, `bytes`, `integer`, `boolean`, `time`, `strings`, `blobs` (maps), or a message."""

    name: str
    type: "str | Message" = "string"
    repeated: bool = False


Message = Mapping[int, Field]


def _strings(*names: str) -> dict[int, Field]:
    return {number: Field(name) for number, name in enumerate(names, 1)}


OWNER: Message = {
    1: Field("kind"),
    3: Field("name"),
    4: Field("uid"),
    5: Field("apiVersion"),
    6: Field("controller", "boolean"),
    7: Field("blockOwnerDeletion", "boolean"),
}
METADATA: Message = {
    **_strings("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion"),
    7: Field("generation", "integer"),
    8: Field("creationTimestamp", "time"),
    9: Field("deletionTimestamp", "time"),
    10: Field("deletionGracePeriodSeconds", "integer"),
    11: Field("labels", "strings"),
    12: Field("annotations", "strings"),
    13: Field("ownerReferences", OWNER, repeated=True),
    14: Field("finalizers", repeated=True),
}
RULE: Message = {
    number: Field(name, repeated=True)
    for number, name in enumerate(("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), 1)
}
SELECTOR: Message = {
    1: Field("matchLabels", "strings"),
    2: Field(
        "matchExpressions",
        {1: Field("key"), 2: Field("operator"), 3: Field("values", repeated=True)},
        repeated=True,
    ),
}
AGGREGATION: Message = {1: Field("clusterRoleSelectors", SELECTOR, repeated=True)}
SUBJECT: Message = _strings("kind", "apiGroup", "name", "namespace")
ROLE_REF: Message = _strings("apiGroup", "kind", "name")
ACCESS: Message = {
    1: Field(
        "resourceAttributes",
        _strings("namespace", "verb", "group", "version", "resource", "subresource", "name"),
    ),
    2: Field("nonResourceAttributes", _strings("path", "verb")),
}
SUBJECT_ACCESS: Message = {**ACCESS, 3: Field("user"), 4: Field("groups", repeated=True), 6: Field("uid")}
TOKEN_REQUEST: Message = {
    1: Field("audiences", repeated=True),
    3: Field("boundObjectRef", _strings("kind", "apiVersion", "name", "uid")),
    4: Field("expirationSeconds", "integer"),
}
DELETE_OPTIONS: Message = {
    1: Field("gracePeriodSeconds", "integer"),
    2: Field("preconditions", _strings("uid", "resourceVersion")),
    3: Field("orphanDependents", "boolean"),
    4: Field("propagationPolicy"),
    5: Field("dryRun", repeated=True),
}


def _object(fields: Message) -> Message:
    return {1: Field("metadata", METADATA), **fields}


KINDS: Mapping[tuple[str, str], Message] = {
    ("v1", "Namespace"): _object({2: Field("spec", {1: Field("finalizers", repeated=True)})}),
    ("v1", "ConfigMap"): _object(
        {
            2: Field("data", "strings"),
            3: Field("binaryData", "blobs"),
            4: Field("immutable", "boolean"),
        }
    ),
    ("v1", "Secret"): _object(
        {
            2: Field("data", "blobs"),
            3: Field("type"),
            4: Field("stringData", "strings"),
            5: Field("immutable", "boolean"),
        }
    ),
    ("v1", "ServiceAccount"): _object(
        {
            3: Field("imagePullSecrets", _strings("name"), repeated=True),
            4: Field("automountServiceAccountToken", "boolean"),
        }
    ),
    ("rbac.authorization.k8s.io/v1", "Role"): _object({2: Field("rules", RULE, repeated=True)}),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): _object(
        {2: Field("rules", RULE, repeated=True), 3: Field("aggregationRule", AGGREGATION)}
    ),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): _object(
        {2: Field("subjects", SUBJECT, repeated=True), 3: Field("roleRef", ROLE_REF)}
    ),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): _object(
        {2: Field("subjects", SUBJECT, repeated=True), 3: Field("roleRef", ROLE_REF)}
    ),
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview"): _object({2: Field("spec", ACCESS)}),
    ("authorization.k8s.io/v1", "SubjectAccessReview"): _object({2: Field("spec", SUBJECT_ACCESS)}),
    ("authorization.k8s.io/v1", "SelfSubjectRulesReview"): _object({2: Field("spec", _strings("namespace"))}),
    ("authentication.k8s.io/v1", "SelfSubjectReview"): _object({}),
    ("authentication.k8s.io/v1", "TokenRequest"): _object({2: Field("spec", TOKEN_REQUEST)}),
    ("policy/v1", "Eviction"): _object({2: Field("deleteOptions", DELETE_OPTIONS)}),
}


def decode_body(body: bytes) -> dict[str, Any]:
    """The object as its JSON. Raises `ApiError` 400 if it is malformed, 415 for a kind that has no table."""
    if not body.startswith(MAGIC):
        raise status.bad_request(f"expected a protobuf body to begin with {MAGIC!r}, found {body[:4]!r}")
    envelope = _decode(
        body[len(MAGIC) :], {1: Field("type", _strings("apiVersion", "kind")), 2: Field("raw", "bytes")}
    )
    named = envelope.get("type") or {}
    api_version, kind = named.get("apiVersion", ""), named.get("kind", "")
    message = KINDS.get((api_version, kind))
    if message is None:
        raise ApiError(
            415,
            "UnsupportedMediaType",
            f"{kind} of {api_version} is not taken as {MEDIA_TYPE}; send application/json or application/yaml "
            "(kubectl: add --dry-run=client -o yaml, and pipe it to kubectl apply -f -)",
        )
    raw = base64.b64decode(envelope.get("raw", ""))
    return {"apiVersion": api_version, "kind": kind, **_decode(raw, message)}


def _decode(data: bytes, message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        # What has no entry is what no command sets, and the status, which a write does not carry.
        if known := message.get(number):
            _store(found, known, value)
    return found


def _store(found: dict[str, Any], known: Field, value: "int | bytes") -> None:
    if known.type in ("strings", "blobs"):
        entry = _decode(
            _bytes(value),
            {1: Field("key"), 2: Field("value", "string" if known.type == "strings" else "bytes")},
        )
        found.setdefault(known.name, {})[entry.get("key", "")] = entry.get("value", "")
        return
    decoded = _value(known, value)
    if decoded is None or decoded == "":
        return
    if known.repeated:
        found.setdefault(known.name, []).append(decoded)
    else:
        found[known.name] = decoded


def _value(known: Field, value: "int | bytes") -> Any:
    match known.type:
        case "integer":
            return _signed(value)
        case "boolean":
            return bool(value)
        case "bytes":
            return base64.b64encode(_bytes(value)).decode()
        case "time":
            moment = _decode(_bytes(value), {1: Field("seconds", "integer")})
            return _timestamp(moment["seconds"]) if moment.get("seconds") else None
        case "string":
            try:
                return _bytes(value).decode()
            except UnicodeDecodeError as error:
                raise _malformed() from error
        case str():
            raise _malformed()
        case message:
            return _decode(_bytes(value), message)


def _fields(data: bytes) -> "Iterator[tuple[int, int | bytes]]":
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
        elif wire in {1, 2, 5}:
            length = {1: 8, 5: 4}.get(wire)
            if length is None:
                length, position = _varint(data, position)
            if position + length > len(data):
                raise _malformed()
            yield number, data[position : position + length]
            position += length
        else:
            raise _malformed()


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
    raise _malformed()


def _signed(value: "int | bytes") -> int:
    if isinstance(value, bytes):
        raise _malformed()
    return value - 2**64 if value >= 2**63 else value


def _bytes(value: "int | bytes") -> bytes:
    if isinstance(value, int):
        raise _malformed()
    return value


def _timestamp(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError) as error:
        raise _malformed() from error


def _malformed() -> ApiError:
    return status.bad_request("the protobuf body is malformed: expected the fields of its kind")
