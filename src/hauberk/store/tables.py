"""Server-side printing: objects as the rows of a `meta.k8s.io/v1` Table. Pure."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from hauberk.model.kind import Column, Kind, Object

NAME = Column(
    "Name", "string", lambda obj: obj["metadata"]["name"], 0, "Name must be unique within a namespace."
)
AGE = Column(
    "Age",
    "date",
    lambda obj: obj["metadata"].get("creationTimestamp"),
    0,
    "Time since the object was created.",
)


def table(
    kind: Kind, objects: Sequence[Object], *, now: datetime, version: str = "v1", include: str = "Metadata"
) -> Object:
    """A Table of `objects`; `include` is `None`, `Metadata` or `Object`."""
    return table_of(_columns(kind), objects, now=now, version=version, include=include)


def table_of(
    columns: Sequence[Column],
    objects: Sequence[Object],
    *,
    now: datetime,
    version: str = "v1",
    include: str = "Metadata",
) -> Object:
    """A Table with just these columns."""
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {},
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [_row(columns, obj, now, version, include) for obj in objects],
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


def _columns(kind: Kind) -> list[Column]:
    """NAME first, AGE after what is always shown, then what only `-o wide` shows."""
    if kind.only_these_columns:
        return list(kind.columns)
    own = [column for column in kind.columns if column.name.lower() != "age"]
    shown = [column for column in own if column.priority == 0]
    wide = [column for column in own if column.priority > 0]
    return [NAME, *shown, AGE, *wide]


def _definition(column: Column) -> Object:
    return {
        "name": column.name,
        "type": "string" if column.type == "date" else column.type,
        "format": "name" if column.name == "Name" else "",
        "description": column.description,
        "priority": column.priority,
    }


def _row(columns: Sequence[Column], obj: Object, now: datetime, version: str, include: str) -> Object:
    row: Object = {"cells": [_cell(column.type, column.value, obj, now) for column in columns]}
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
