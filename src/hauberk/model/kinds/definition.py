"""How a kind is put together from its typed object."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from hauberk.model.admission.metadata import NameRule, admit_metadata
from hauberk.model.admission.syntax import dns_subdomain
from hauberk.model.kind import Column, FieldError, Kind, Object
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.schema import object_schema
from hauberk.model.struct import drop_nulls, parse

T = TypeVar("T", bound=msgspec.Struct)
Admit = Callable[[T, T | None], Iterator[FieldError]]
Default = Callable[[Object], None]


def admit_all(_new: msgspec.Struct, _old: msgspec.Struct | None) -> Iterator[FieldError]:
    """No rule beyond the schema."""
    return iter(())


def no_default(_obj: Object) -> None:
    """Nothing to fill in."""


def define(
    type_: type[T],
    group: str,
    version: str,
    plural: str,
    *,
    namespaced: bool = True,
    short_names: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    subresources: tuple[str, ...] = (),
    columns: Sequence[Column] = (),
    only_these_columns: bool = False,
    selectable_fields: tuple[str, ...] = (),
    storage_version: str = "",
    sensitive: bool = False,
    name_rule: NameRule = dns_subdomain,
    admit: Admit[T] = admit_all,
    default: Default = no_default,
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
        only_these_columns=only_these_columns,
        selectable_fields=selectable_fields,
        storage_version=storage_version,
        sensitive=sensitive,
        admit=_typed(type_, name_rule, admit),
        default=_well_formed(type_, default),
    )


def _well_formed(type_: type[T], default: Default) -> Default:
    """`default`, for objects of the right shape only: what is wrong with the others the schema tells."""

    def fill(obj: Object) -> None:
        drop_nulls(obj)
        try:
            msgspec.convert(obj, type_)
        except msgspec.ValidationError:
            return
        obj.setdefault("metadata", {})
        default(obj)

    return fill


def _typed(
    type_: type[T], name_rule: NameRule, admit: Admit[T]
) -> Callable[[Object, Object | None], list[FieldError]]:
    """Rules on metadata and those of the kind, on plain objects."""

    def check(new: Object, old: Object | None) -> list[FieldError]:
        try:
            metadata = parse(ObjectMeta, new.get("metadata") or {})
            typed = parse(type_, new)
        except msgspec.ValidationError as error:
            return [FieldError("", str(error), "FieldValueTypeInvalid")]
        old_metadata = None if old is None else parse(ObjectMeta, old.get("metadata") or {})
        old_typed = None if old is None else parse(type_, old)
        return [*admit_metadata(metadata, old_metadata, name_rule), *admit(typed, old_typed)]

    return check


def admit_metadata_alone(new: Object, old: Object | None) -> list[FieldError]:
    """The rules on metadata, for kinds that have no others; metadata must be well-formed."""
    metadata = parse(ObjectMeta, new.get("metadata") or {})
    old_metadata = None if old is None else parse(ObjectMeta, old.get("metadata") or {})
    return list(admit_metadata(metadata, old_metadata, dns_subdomain))


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
