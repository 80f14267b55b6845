"""The way of an object into the store: schema, defaults, rules."""

from hauberk.model.kind import FieldError, Kind, Object
from hauberk.model.struct import drop_nulls
from hauberk.model.validation import validate_object


def accept(kind: Kind, obj: Object, old: Object | None = None) -> list[FieldError]:
    """What is wrong with `obj`, which would replace `old`. Nulls are removed and defaults filled in, in place.

    Defaults and rules suppose that the schema holds: where it does not, its errors are all that is told.
    """
    drop_nulls(obj)
    errors = validate_object(kind, obj)
    if errors:
        return errors
    kind.default(obj)
    return kind.admit(obj, old)
