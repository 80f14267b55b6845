"""The base of typed objects: how their fields are called in JSON and annotated for OpenAPI.

A typed object is an immutable `msgspec.Struct`. Its annotations carry what the API publishes: descriptions,
limits and Kubernetes' rules for merging lists. `hauberk.model.schema` turns them into OpenAPI.
"""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from hauberk.model.kind import Object

_ACRONYMS = frozenset({"cidr", "fqdn", "id", "ip", "ipc", "pid", "url", "uri", "uuid"})
_PLURAL_ACRONYMS = frozenset(f"{acronym}s" for acronym in _ACRONYMS)


def kubernetes_name(name: str) -> str:
    """`pod_ips` → `podIPs`: Kubernetes writes acronyms in capitals, save at the beginning."""
    first, *rest = name.split("_")
    return first + "".join(_capitalised(word) for word in rest)


def _capitalised(word: str) -> str:
    if word in _ACRONYMS:
        return word.upper()
    if word in _PLURAL_ACRONYMS:
        return word[:-1].upper() + "s"
    return word[:1].upper() + word[1:]


class KubernetesStruct(msgspec.Struct, frozen=True, omit_defaults=True, rename=kubernetes_name):
    """A part of an object of Kubernetes' own API groups."""


class MeshStruct(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A part of an object of Istio's API groups or of the Gateway API, which write acronyms as words."""


def doc(text: str) -> Meta:
    """What a field means, for `kubectl explain` and the reference."""
    return Meta(description=text)


def merged_by(key: str, *more: str, retain_keys: bool = False) -> Meta:
    """A list whose items are told apart by `key` in a strategic merge patch (with `more`, in a set of keys)."""
    return Meta(
        extra_json_schema={
            "x-kubernetes-patch-merge-key": key,
            "x-kubernetes-patch-strategy": "merge,retainKeys" if retain_keys else "merge",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [key, *more],
        }
    )


ATOMIC = Meta(extra_json_schema={"x-kubernetes-list-type": "atomic"})
"""A list that a patch replaces as a whole."""

SET = Meta(extra_json_schema={"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"})
"""A list of distinct scalars that a strategic merge patch adds to."""

RETAIN_KEYS = Meta(extra_json_schema={"x-kubernetes-patch-strategy": "retainKeys"})
"""An object of which a strategic merge patch keeps only the keys that it names."""

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339."""

Bytes = Annotated[str, Meta(extra_json_schema={"format": "byte"})]
"""Base64."""

IntOrString = Annotated[
    int | str,
    Meta(
        extra_json_schema={
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
        }
    ),
]
"""A number, or a name or percentage."""

Quantity = Annotated[
    int | float | str,
    Meta(
        extra_json_schema={
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "number"}, {"type": "string"}],
            "format": "quantity",
        }
    ),
]
"""An amount with an optional suffix: `500m`, `1Gi`."""

Duration = Annotated[str, Meta(extra_json_schema={"format": "duration"})]
"""A number and a unit: `1.5s`, `250ms`, `1h30m`."""

Port = Annotated[int, Meta(ge=1, le=65535)]

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""A number of things, of seconds among them, or a user's ID: what is reckoned from it stays a number or a date."""

PositiveCount = Annotated[int, Meta(ge=1, le=2**31 - 1)]

FileMode = Annotated[int, Meta(ge=0, le=0o777)]

T = TypeVar("T", bound=msgspec.Struct)


def parse(type_: type[T], obj: Object) -> T:
    """`obj` as `type_`. A null is an absent field; fields that `type_` does not have are passed over.

    Raises:
        msgspec.ValidationError: a field has the wrong type or breaks a limit; objects that the API
            accepted never do.
    """
    return msgspec.convert(_without_nulls(obj), type_)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def drop_nulls(value: Any) -> None:
    """Removes keys whose value is null, at every depth, in place: a null is an absent field."""
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if item is None]:
            del value[key]
        for item in value.values():
            drop_nulls(item)
    elif isinstance(value, list):
        for item in value:
            drop_nulls(item)
