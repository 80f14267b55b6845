"""How a kind is put together from its typed object."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from hauberk.model.kind import Column, FieldError, Kind, Object
from hauberk.model.schema import object_schema

Admit = Callable[[Object, Object | None], list[FieldError]]
Default = Callable[[Object], None]


def _admit_all(_new: Object, _old: Object | None) -> list[FieldError]:
    return []


def _no_default(_obj: Object) -> None:
    return


def define(
    type_: type[msgspec.Struct],
    group: str,
    version: str,
    plural: str,
    *,
    namespaced: bool = True,
    short_names: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    subresources: tuple[str, ...] = (),
    columns: Sequence[Column] = (),
    selectable_fields: tuple[str, ...] = (),
    storage_version: str = "",
    sensitive: bool = False,
    admit: Admit = _admit_all,
    default: Default = _no_default,
) -> Kind:
    """The kind whose objects have the shape of `type_`, and its name."""
    name = type_.__name__
    return Kind(
        group=group,
        version=version,
        name=name,
        plural=plural,
        namespaced=namespaced,
        schema=object_schema(type_, group, version, name),
        short_names=short_names,
        categories=categories,
        subresources=frozenset(subresources),
        columns=columns,
        selectable_fields=selectable_fields,
        storage_version=storage_version,
        sensitive=sensitive,
        admit=admit,
        default=default,
    )


def column(
    name: str, path: str, *, type: str = "string", wide: bool = False, description: str = ""
) -> Column:
    """A column that prints the field at `path` (`spec.replicas`), nothing if it is absent."""
    names = tuple(path.split("."))
    return Column(name, type, lambda obj: value_at(obj, names), int(wide), description)


def computed(
    name: str,
    value: Callable[[Object], Any],
    *,
    type: str = "string",
    wide: bool = False,
    description: str = "",
) -> Column:
    """A column that prints what `value` makes of the object."""
    return Column(name, type, value, int(wide), description)


def value_at(obj: Object, names: tuple[str, ...]) -> Any:
    """The field at the end of `names`, None if any of them is absent. Lists are joined by commas."""
    current: Any = obj
    for name in names:
        if not isinstance(current, dict):
            return None
        current = current.get(name)
    return ",".join(map(str, current)) if isinstance(current, list) else current
