"""What the API needs to know of a kind to serve it: names, schema, subresources, printed columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
"""An API object as its JSON: `apiVersion`, `kind`, `metadata` and the rest."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with an object, as `metav1.StatusCause` carries it."""

    field: str
    """Path in the object: `spec.containers[0].image`."""
    message: str
    """What was expected, what was found, and the remedy."""
    reason: str = "FieldValueInvalid"
    """A `metav1.CauseType`: `FieldValueRequired`, `FieldValueNotSupported`, `FieldValueForbidden`, …"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the server-side printed table (`metav1.TableColumnDefinition`)."""

    name: str
    type: str
    """`string`, `integer`, `number`, `boolean` or `date`."""
    value: Callable[[Object], Any]
    priority: int = 0
    """0 is always shown, above 0 only with `-o wide`."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object that the API serves in one version.

    `admit` returns what is wrong with an object beyond its schema; its second argument is the stored
    object on update, None on create. `default` fills what the user left out, in place.
    """

    group: str
    """API group; empty for the core group."""
    version: str
    name: str
    plural: str
    namespaced: bool
    schema: Mapping[str, Any]
    """OpenAPI v3 schema of the whole object, with `x-kubernetes-*` extensions."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    """Of `status`, `scale`, `log`, `exec`, `token`, `eviction`, `binding`, `approval`, `finalize`."""
    columns: Sequence[Column] = ()
    """Printed after NAME; AGE is added last."""
    only_these_columns: bool = False
    """Whether NAME and AGE are not added."""
    selectable_fields: tuple[str, ...] = ()
    """Field selectors beyond `metadata.name` and `metadata.namespace`."""
    storage_version: str = ""
    """The version in which objects are stored, whatever version they are written in: kinds of the same group
    and name that are served in several versions have the same content. Empty for this very version."""
    sensitive: bool = False
    """Encrypted at rest (Secret, and whatever holds a key)."""
    admit: Callable[[Object, Object | None], list[FieldError]] = field(default=lambda _new, _old: [])
    default: Callable[[Object], None] = field(default=lambda _obj: None)

    @property
    def api_version(self) -> str:
        """`v1`, or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The lower-case name, as `kubectl get pod` takes it."""
        return self.name.lower()
