"""The kinds that a control plane serves: the built-in ones, and those of its CustomResourceDefinitions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hauberk.cli.errors import CommandError, ExitCode
from hauberk.model import kinds
from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError
from hauberk.store.custom_resources import kinds_of
from hauberk.store.http_client import HttpClient


@dataclass(frozen=True, slots=True)
class Kinds:
    """What can be named on the command line and in manifests."""

    custom: tuple[Kind, ...] = ()

    def by_gvk(self, api_version: str, name: str) -> Kind | None:
        """The kind that an object says it is."""
        found = (kind for kind in self.custom if (kind.api_version, kind.name) == (api_version, name))
        return kinds.by_gvk(api_version, name) or next(found, None)

    def by_word(self, word: str) -> Kind:
        """The kind that `word` names: plural, singular, short name, with `.GROUP` if need be.

        Raises:
            CommandError: there is none.
        """
        name, _, group = word.lower().partition(".")
        custom = (
            kind
            for kind in self.custom
            if name in (kind.plural, kind.singular, *kind.short_names) and group in {"", kind.group}
        )
        for kind in (*kinds.by_name(word), *custom):
            return kind
        raise CommandError(
            f"kind: expected one that the API serves, found {word!r}",
            "for example: pods, deploy, svc, authorizationpolicies; all: `kubectl api-resources`",
            ExitCode.USAGE,
        )


async def served_kinds(client: HttpClient) -> Kinds:
    """The kinds that the control plane of `client` serves; who may not list definitions sees the built-in ones.

    Raises:
        ApiError: it cannot be reached.
    """
    try:
        definitions = await client.list(kinds.CUSTOM_RESOURCE_DEFINITION)
    except ApiError as error:
        if error.code in {403, 404}:
            return Kinds()
        raise
    return defined_kinds(definitions.items)


def defined_kinds(definitions: Iterable[Object]) -> Kinds:
    """The kinds that CustomResourceDefinitions make, beside the built-in ones."""
    return Kinds(tuple(_whole(kind) for item in definitions for kind in kinds_of(item)))


def _whole(kind: Kind) -> Kind:
    """The kind with what its definition leaves out of the schema because every object has it."""
    everywhere = kinds.CONFIG_MAP.schema["properties"]
    common = {name: everywhere[name] for name in ("apiVersion", "kind", "metadata")}
    return replace(
        kind, schema={**kind.schema, "properties": {**kind.schema.get("properties", {}), **common}}
    )
