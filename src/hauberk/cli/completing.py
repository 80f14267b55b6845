"""What a shell offers after a key: kinds, and the names that the control plane has now.

A shell that waits, or prints an error between the letters typed, helps nobody: whatever goes wrong offers nothing.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import click
from click.shell_completion import CompletionItem

from hauberk.cli.context import Context
from hauberk.cli.custom_kinds import served_kinds
from hauberk.cli.errors import CommandError
from hauberk.cli.instance import Instance
from hauberk.cli.pods import WITH_PODS
from hauberk.model import kinds
from hauberk.model.kind import Kind
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient
from hauberk.store.kubeconfig import KubeconfigError

SECONDS = 2.0
MOST = 500
"""Names that are asked for."""

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Offer = Callable[[HttpClient, click.Context, str], Coroutine[Any, Any, list[str]]]


def _completing(offer: Offer) -> Complete:
    def complete(ctx: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        try:
            offered = asyncio.run(_asked(offer, ctx, typed))
        except (ApiError, CommandError, KubeconfigError, TimeoutError, OSError, ValueError):
            return []
        return [CompletionItem(word) for word in offered if word.startswith(typed)]

    return complete


async def _asked(offer: Offer, ctx: click.Context, typed: str) -> list[str]:
    given = ctx.find_root().params
    places = {name: given.get(name) for name in ("state", "run", "key_file")}
    instance = Instance.named(given.get("instance") or "default", **places)
    async with asyncio.timeout(SECONDS), Context(instance, given.get("kubeconfig")).connect() as client:
        return await offer(client, ctx, typed)


async def _objects(client: HttpClient, ctx: click.Context, typed: str) -> list[str]:
    """A kind, a name after a kind, or `KIND/NAME`."""
    known = await served_kinds(client)
    before = [word for word in ctx.params.get("what") or () if word]
    word, slash, _ = typed.partition("/")
    if slash:
        return [f"{word}/{name}" for name in await _names(client, ctx, known.by_word(word))]
    if before and "/" not in before[0]:
        taken = set(before[1:])
        return [name for name in await _names(client, ctx, known.by_word(before[0])) if name not in taken]
    served = [kind for kind in (*kinds.ALL, *known.custom) if not kind.storage_version]
    return sorted({name for kind in served for name in (kind.plural, *kind.short_names)})


async def _pods(client: HttpClient, ctx: click.Context, typed: str) -> list[str]:
    """A pod, or `KIND/NAME` of what has pods."""
    word, slash, _ = typed.partition("/")
    if not slash:
        return [*await _names(client, ctx, kinds.POD), *(f"{kind.singular}/" for kind in WITH_PODS)]
    kind = (await served_kinds(client)).by_word(word)
    return [f"{word}/{name}" for name in await _names(client, ctx, kind)]


async def _workloads(client: HttpClient, ctx: click.Context, typed: str) -> list[str]:
    """`NAMESPACE/NAME` of a Deployment or StatefulSet."""
    found = []
    for kind in (kinds.DEPLOYMENT, kinds.STATEFUL_SET):
        listed = await client.list(kind, limit=MOST)
        found += [f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in listed.items]
    return sorted(found)


async def _namespaces(client: HttpClient, _ctx: click.Context, _typed: str) -> list[str]:
    return [each["metadata"]["name"] for each in (await client.list(kinds.NAMESPACE, limit=MOST)).items]


async def _names(client: HttpClient, ctx: click.Context, kind: Kind) -> list[str]:
    where = ctx.params.get("namespace") or client.connection.namespace
    listed = await client.list(kind, where if kind.namespaced else None, limit=MOST)
    return [each["metadata"]["name"] for each in listed.items]


complete_objects = _completing(_objects)
complete_pods = _completing(_pods)
complete_workloads = _completing(_workloads)
complete_namespaces = _completing(_namespaces)
