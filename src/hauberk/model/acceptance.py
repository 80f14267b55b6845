"""The way of an object into the store: schema, defaults, rules."""

from typing import Any

from hauberk.model.kind import FieldError, Kind, Object
from hauberk.model.validation import validate_object


def accept(kind: Kind, obj: Object, old: Object | None = None) -> list[FieldError]:
    """What is wrong with `obj`, which would replace `old`. Nulls are removed and defaults filled in, in place.

    Defaults and rules suppose that the schema holds: where it does not, its errors are all that is told.
    """
    drop_nulls(obj)
    errors = validate_object(kind, obj)
    if errors:
        return errors
    obj.setdefault("metadata", {})
    kind.default(obj)
    return kind.admit(obj, old)


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
