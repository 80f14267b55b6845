"""The `scale` subresource: replicas of whatever has them, as `autoscaling/v1.Scale`. Pure."""

from typing import Any

import msgspec

from hauberk.model.kind import Column, Kind, Object
from hauberk.store import status
from hauberk.store.bodies import parse_as
from hauberk.store.tables import AGE, NAME

SCALE_COLUMNS = (
    NAME,
    Column("Desired", "integer", lambda scale: scale["spec"]["replicas"], 0, "Replicas that are wanted."),
    Column("Available", "integer", lambda scale: scale["status"]["replicas"], 0, "Replicas that there are."),
    AGE,
)


def scale_of(obj: Object) -> Object:
    """The Scale of an object."""
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    state: Object = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
    if selector := _selector_text((obj.get("spec") or {}).get("selector")):
        state["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": (obj.get("spec") or {}).get("replicas", 0)},
        "status": state,
    }


class ScaleMetadata(msgspec.Struct, rename="camel", frozen=True):
    """What of it counts."""

    resource_version: str = ""


class ScaleSpec(msgspec.Struct, frozen=True):
    """How many are wanted."""

    replicas: int = 0


class Scale(msgspec.Struct, frozen=True):
    """`autoscaling/v1.Scale`, as it is written."""

    metadata: ScaleMetadata = ScaleMetadata()
    spec: ScaleSpec = ScaleSpec()


def with_scale(kind: Kind, obj: Object, body: Any) -> Object:
    """`obj` with the replicas and the version that the Scale `body` asks for. Raises `ApiError` 400."""
    scale = parse_as(Scale, body)
    replicas = scale.spec.replicas
    if replicas < 0:
        raise status.bad_request(
            f"spec.replicas of {kind.name}: expected a whole number from 0, found {replicas!r}"
        )
    version = scale.metadata.resource_version or obj["metadata"]["resourceVersion"]
    return {
        **obj,
        "metadata": {**obj["metadata"], "resourceVersion": version},
        "spec": {**(obj.get("spec") or {}), "replicas": replicas},
    }


def _selector_text(selector: Any) -> str:
    if not isinstance(selector, dict):
        return ""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key", ""), ",".join(expression.get("values") or ())
        words = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        terms.append(words.get(expression.get("operator", ""), f"!{key}"))
    return ",".join(terms)
