"""Collects what `describe pod` says of traffic, as far as its user may see it."""

import asyncio
from collections.abc import Iterator

from hauberk.cli.describing_traffic import traffic_lines
from hauberk.mesh.pod_traffic import pod_traffic
from hauberk.mesh.registry import CONFIGURATION_KINDS, SECURITY, Registry, object_key
from hauberk.model import kinds
from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient

FORBIDDEN = 403


async def describe_traffic(client: HttpClient, pod: Object) -> list[str]:
    """The lines. What may not be read in other namespaces is left out, and said."""
    wanted = [kinds.SERVICE, *(kind for kind in kinds.ALL if (kind.group, kind.name) in CONFIGURATION_KINDS)]
    wanted = [kind for kind in wanted if kind.storage_version in ("", kind.version)]
    found = await asyncio.gather(*(_list(client, kind, pod["metadata"]["namespace"]) for kind in wanted))
    objects = [obj for listed, _ in found for obj in listed]
    hidden = [kind.plural for kind, (_, whole) in zip(wanted, found, strict=True) if not whole]
    registry = Registry().update([pod, *objects])
    workload = registry.workloads.get((pod["metadata"]["namespace"], pod["metadata"]["name"]))
    if workload is None:
        return ["Traffic:", "  none: the pod has ended"]
    traffic = pod_traffic(registry, workload)
    by_key = {object_key(obj): obj for obj in objects}
    policies = [by_key[SECURITY, "AuthorizationPolicy", *one.key] for one in traffic.authorization]
    return [*traffic_lines(traffic, policies), *_left_out(hidden)]


def _left_out(hidden: list[str]) -> Iterator[str]:
    if hidden:
        yield f"  of other namespaces you may not list {', '.join(hidden)}: theirs are left out here"


async def _list(client: HttpClient, kind: Kind, namespace: str) -> tuple[list[Object], bool]:
    """All objects, or those of the namespace; and whether it is all of them."""
    try:
        return (await client.list(kind)).items, True
    except ApiError as error:
        if error.code != FORBIDDEN:
            raise
    try:
        return (await client.list(kind, namespace)).items if kind.namespaced else [], False
    except ApiError as error:
        if error.code != FORBIDDEN:
            raise
        return [], False
