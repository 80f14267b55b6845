"""What a person types for an object: `pods`, `deploy/web`, `bank/web`."""

from dataclasses import dataclass

from hauberk.cli.custom_kinds import Kinds
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.model.kind import Kind


@dataclass(frozen=True, slots=True)
class Reference:
    """One named object."""

    kind: Kind
    name: str


def parse_references(words: tuple[str, ...], known: Kinds) -> list[Kind] | list[Reference]:
    """`pods,svc` (whole kinds), or `pods a b`, or `pod/a svc/b` (named objects).

    Raises:
        CommandError: a kind is not known, or a name is missing.
    """
    if not words:
        raise CommandError("expected a kind, found nothing", "for example: pods, deploy/web", ExitCode.USAGE)
    if any("/" in word for word in words):
        return [_named(word, known) for word in words]
    found = [known.by_word(word) for word in words[0].split(",") if word]
    if len(words) == 1:
        return found
    return [Reference(kind, name) for kind in found for name in words[1:]]


def _named(word: str, known: Kinds) -> Reference:
    kind, _, name = word.partition("/")
    if not kind or not name:
        raise CommandError(f"expected KIND/NAME, found {word!r}", "for example: deploy/web", ExitCode.USAGE)
    return Reference(known.by_word(kind), name)


@dataclass(frozen=True, slots=True)
class WorkloadReference:
    """`NAMESPACE/NAME`, or `NAME` in the default namespace: a workload, a pod or a service account."""

    namespace: str
    name: str

    @staticmethod
    def parse(word: str, default_namespace: str) -> "WorkloadReference":
        """Raises `CommandError` if it is not of that form."""
        namespace, slash, name = word.partition("/")
        if not slash:
            namespace, name = default_namespace, word
        if not namespace or not name or "/" in name:
            raise CommandError(
                f"workload: expected NAMESPACE/NAME, found {word!r}", "for example: bank/web", ExitCode.USAGE
            )
        return WorkloadReference(namespace, name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
