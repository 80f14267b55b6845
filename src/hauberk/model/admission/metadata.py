"""Rules on metadata, the same for all kinds but for the form of the name."""

from collections.abc import Callable

from hauberk.model.admission.syntax import Errors, forbidden, invalid, labels, qualified_name, required
from hauberk.model.kubernetes.meta import LabelSelector, ObjectMeta
from hauberk.model.validation import describe

NameRule = Callable[[str, str], Errors]

_MOST_ANNOTATION_BYTES = 256 * 1024


def admit_metadata(new: ObjectMeta, old: ObjectMeta | None, name_rule: NameRule) -> Errors:
    """Name, labels, annotations and owners."""
    if new.name:
        yield from name_rule(new.name, "metadata.name")
    elif new.generate_name:
        yield from name_rule(
            f"{new.generate_name.rstrip('-')}-x" if new.generate_name else "", "metadata.generateName"
        )
    else:
        yield required("metadata.name")
    yield from labels(new.labels, "metadata.labels")
    for key in new.annotations:
        yield from qualified_name(key.lower(), f"metadata.annotations[{key}]")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in new.annotations.items())
    if size > _MOST_ANNOTATION_BYTES:
        yield invalid(
            "metadata.annotations", f"expected at most {_MOST_ANNOTATION_BYTES} bytes, found {size}"
        )
    for index, finalizer in enumerate(new.finalizers):
        yield from qualified_name(finalizer, f"metadata.finalizers[{index}]")
    for index, owner in enumerate(new.owner_references):
        for name in ("api_version", "kind", "name", "uid"):
            if not getattr(owner, name):
                yield required(
                    f"metadata.ownerReferences[{index}].{name.replace('_v', 'V')}", "may not be empty"
                )
    controllers = [owner for owner in new.owner_references if owner.controller]
    if len(controllers) > 1:
        yield invalid(
            "metadata.ownerReferences", f"expected at most one controller, found {len(controllers)}"
        )
    if old is not None:
        yield from _admit_update(new, old)


def _admit_update(new: ObjectMeta, old: ObjectMeta) -> Errors:
    if new.name and new.name != old.name:
        yield forbidden("metadata.name", f"cannot be changed from {describe(old.name)}: make a new object")
    added = set(new.finalizers) - set(old.finalizers)
    if old.deletion_timestamp and added:
        yield forbidden(
            "metadata.finalizers", f"cannot be added once deletion was asked for: {', '.join(sorted(added))}"
        )


def admit_selector(selector: LabelSelector, path: str) -> Errors:
    """Operators of a label selector have the values that they need."""
    yield from labels(selector.match_labels, f"{path}.matchLabels")
    for index, expression in enumerate(selector.match_expressions):
        at = f"{path}.matchExpressions[{index}]"
        yield from qualified_name(expression.key, f"{at}.key")
        if expression.operator in {"In", "NotIn"} and not expression.values:
            yield required(f"{at}.values", f"the operator {expression.operator} needs at least one value")
        if expression.operator in {"Exists", "DoesNotExist"} and expression.values:
            yield forbidden(
                f"{at}.values", f"the operator {expression.operator} takes no values: remove them"
            )
