"""Which kinds are served: those that are built in, and those that CustomResourceDefinitions add."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hauberk.model.kind import Kind

NATIVE_VERSIONS = ("v1", "v2", "v1beta1", "v1alpha3", "v1alpha2", "v1alpha1")


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind in every version that it is served in; `name` is its key in the store."""

    name: str
    versions: tuple[Kind, ...]
    """The preferred one first."""

    @property
    def preferred(self) -> Kind:
        return self.versions[0]


@dataclass(slots=True)
class Registry:
    """Kinds by group, version and plural."""

    _kinds: dict[tuple[str, str, str], Kind] = field(default_factory=dict)
    _custom: dict[str, tuple[Kind, ...]] = field(default_factory=dict)
    generation: int = 0
    """Grows with each change, so that documents made from the registry can be kept until then."""

    @classmethod
    def of(cls, kinds: Iterable[Kind]) -> "Registry":
        registry = cls()
        for kind in kinds:
            registry._kinds[kind.group, kind.version, kind.plural] = kind
        return registry

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._kinds.get((group, version, plural))

    def find_kind(self, api_version: str, name: str) -> Kind | None:
        """By `apiVersion` and `kind`, as objects and owner references say it."""
        for kind in self._kinds.values():
            if kind.name == name and kind.api_version == api_version:
                return kind
        return None

    def by_resource(self, name: str) -> Kind | None:
        """By `PLURAL.GROUP`: the preferred version."""
        resource = next((r for r in self.resources() if r.name == name), None)
        return resource.preferred if resource else None

    def resources(self) -> list[Resource]:
        """Each kind once, whatever versions it has."""
        found: dict[str, list[Kind]] = {}
        for kind in self._kinds.values():
            found.setdefault(resource_name(kind), []).append(kind)
        return [Resource(name, tuple(sorted(kinds, key=_preference))) for name, kinds in found.items()]

    def versions(self, group: str) -> list[str]:
        """The versions of a group, the preferred one first."""
        kinds = [kind for kind in self._kinds.values() if kind.group == group]
        return list(dict.fromkeys(kind.version for kind in sorted(kinds, key=_preference)))

    def groups(self) -> list[str]:
        """Every group but the core one, in order of name."""
        return sorted({group for group, _, _ in self._kinds if group})

    def kinds(self, group: str, version: str) -> list[Kind]:
        found = [k for k in self._kinds.values() if (k.group, k.version) == (group, version)]
        return sorted(found, key=lambda kind: kind.plural)

    def define(self, definition: str, kinds: tuple[Kind, ...]) -> None:
        """Serve the kinds of the CustomResourceDefinition named `definition`, instead of those it had."""
        self.undefine(definition)
        for kind in kinds:
            self._kinds.setdefault((kind.group, kind.version, kind.plural), kind)
        self._custom[definition] = kinds
        self.generation += 1

    def undefine(self, definition: str) -> None:
        """Serve them no more."""
        for kind in self._custom.pop(definition, ()):
            if self._kinds.get((kind.group, kind.version, kind.plural)) is kind:
                del self._kinds[kind.group, kind.version, kind.plural]
        self.generation += 1

    def is_built_in(self, group: str, plural: str) -> bool:
        """Whether a CustomResourceDefinition may not take this name."""
        custom = {id(kind) for kinds in self._custom.values() for kind in kinds}
        return any(
            (kind.group, kind.plural) == (group, plural) and id(kind) not in custom
            for kind in self._kinds.values()
        )

    def is_custom(self, kind: Kind) -> bool:
        """Whether a CustomResourceDefinition made this kind."""
        return any(kind is custom for kinds in self._custom.values() for custom in kinds)

    def __iter__(self) -> Iterator[Kind]:
        return iter(list(self._kinds.values()))


def resource_name(kind: Kind) -> str:
    """The store's name of a kind, the same in all its versions: `deployments.apps`, `pods`."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _preference(kind: Kind) -> tuple[int, str]:
    order = NATIVE_VERSIONS.index(kind.version) if kind.version in NATIVE_VERSIONS else len(NATIVE_VERSIONS)
    return order, kind.version
