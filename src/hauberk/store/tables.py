"""Server-side printing: objects as the rows of a `meta.k8s.io/v1` Table. Pure."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from hauberk.model.kind import Kind, Object

NAME_DESCRIPTION = "Name must be unique within a namespace."
AGE_DESCRIPTION = "Time since the object was created."


def table(
    kind: Kind, objects: Sequence[Object], *, now: datetime, version: str = "v1", include: str = "Metadata"
) -> Object:
    """A Table of `objects`; `include` is `None`, `Metadata` or `Object`."""
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {},
        "columnDefinitions": _definitions(kind),
        "rows": [_row(kind, obj, now, version, include) for obj in objects],
    }


def partial_metadata(obj: Object, version: str = "v1") -> Object:
    """The object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }


def human_age(seconds: float) -> str:
    """A duration as kubectl prints ages: `45s`, `5m12s`, `3h`, `2d4h`, `1y20d`."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    total = max(total, 0)
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    if days < 8 * 365:
        return f"{days // 365}y{days % 365}d" if days % 365 else f"{days // 365}y"
    return f"{days // 365}y"


def _definitions(kind: Kind) -> list[Object]:
    columns = [_definition("Name", "string", "name", NAME_DESCRIPTION, 0)]
    columns += [
        _definition(c.name, "string" if c.type == "date" else c.type, "", c.description, c.priority)
        for c in kind.columns
        if c.name.lower() != "age"
    ]
    # The age comes before what only -o wide shows, as kubectl's readers know it.
    return [
        *columns[: _visible(kind)],
        _definition("Age", "string", "", AGE_DESCRIPTION, 0),
        *columns[_visible(kind) :],
    ]


def _visible(kind: Kind) -> int:
    """How many columns, the name among them, stand before the age."""
    columns = [c for c in kind.columns if c.name.lower() != "age"]
    first = next((i for i, c in enumerate(columns) if c.priority > 0), len(columns))
    return 1 + first if all(c.priority > 0 for c in columns[first:]) else 1 + len(columns)


def _definition(name: str, type_: str, format_: str, description: str, priority: int) -> Object:
    return {"name": name, "type": type_, "format": format_, "description": description, "priority": priority}


def _row(kind: Kind, obj: Object, now: datetime, version: str, include: str) -> Object:
    cells: list[Any] = [obj["metadata"]["name"]]
    cells += [_cell(c.type, c.value, obj, now) for c in kind.columns if c.name.lower() != "age"]
    cells.insert(_visible(kind), _age(obj["metadata"].get("creationTimestamp"), now))
    row: Object = {"cells": cells}
    if include == "Object":
        row["object"] = obj
    elif include == "Metadata":
        row["object"] = partial_metadata(obj, version)
    return row


def _cell(type_: str, value: Callable[[Object], Any], obj: Object, now: datetime) -> Any:
    found = value(obj)
    if type_ == "date":
        return _age(found, now)
    if found is None:
        return "<none>" if type_ == "string" else 0 if type_ in {"integer", "number"} else False
    return str(found) if type_ == "string" else found


def _age(timestamp: Any, now: datetime) -> str:
    if not isinstance(timestamp, str) or not timestamp:
        return "<unknown>"
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return "<invalid>"
    return human_age((now - moment.replace(tzinfo=moment.tzinfo or UTC)).total_seconds())
