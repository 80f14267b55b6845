"""Facts come in whole before anything is published, then one by one; and streams belong to whom they say."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from mesh_testing.control_plane import eventually
from mesh_testing.objects import pod, service

from hauberk.mesh.ads import UnauthenticatedError
from hauberk.mesh.authentication import authenticate_by_spiffe_id
from hauberk.mesh.informers import Feed
from hauberk.mesh.registry import Mesh, Registry
from hauberk.model.kind import Kind
from hauberk.store.client import Event, ObjectList


class FakeClient:
    """Lists one service; watches what the test puts in."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.gate = asyncio.Event()

    async def list(self, kind: Kind, namespace: str | None = None, **_: Any) -> ObjectList:
        if kind.name == "Pod":
            await self.gate.wait()
        items = [service("a", address="10.96.0.1", http=80)] if kind.name == "Service" else []
        return ObjectList(items=items, resource_version="1")

    async def watch(self, kind: Kind, namespace: str | None = None, **_: Any) -> AsyncIterator[Event]:
        if kind.name != "Service":
            await asyncio.Event().wait()
        while True:
            yield await self.events.get()


async def test_nothing_is_published_before_all_is_known() -> None:
    client = FakeClient()
    published: list[Registry] = []
    feed = Feed(client, Mesh(), published.append)  # type: ignore[arg-type]
    task = asyncio.create_task(feed.run())
    try:
        await eventually(lambda: feed.registry.views)
        assert published == []
        client.gate.set()
        await asyncio.wait_for(feed.synced.wait(), 5)
        assert [list(one.views) for one in published] == [["a.default.svc.cluster.local"]]
        added = service("b", address="10.96.0.2", http=80)
        added["metadata"]["resourceVersion"] = "2"
        client.events.put_nowait(Event("ADDED", added))
        await eventually(lambda: len(published[-1].views) == 2)
        client.events.put_nowait(Event("DELETED", added))
        await eventually(lambda: len(published[-1].views) == 1)
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(
    ("node", "identity", "accepted"),
    [
        ("sidecar~10.66.0.1~web.n~n.svc.cluster.local", "spiffe://cluster.local/ns/n/sa/web", True),
        ("sidecar~10.66.0.1~web.n~n.svc.cluster.local", "spiffe://cluster.local/ns/n/sa/other", False),
        ("sidecar~10.66.0.1~absent.n~n.svc.cluster.local", "spiffe://cluster.local/ns/n/sa/web", False),
        ("sidecar~10.66.0.1~web.n~n.svc.cluster.local", "", False),
    ],
)
def test_a_stream_belongs_to_the_pod_that_its_certificate_names(
    node: str, identity: str, accepted: bool
) -> None:
    registry = Registry().update([pod("web", "10.66.0.1", "n", account="web", app="web")])
    authenticate = authenticate_by_spiffe_id(lambda: registry)
    names = [identity.encode()] if identity else []
    context = SimpleNamespace(auth_context=lambda: {"x509_subject_alternative_name": names})
    if accepted:
        assert authenticate(context, SimpleNamespace(id=node)).labels.get("app") == "web"
    else:
        with pytest.raises(UnauthenticatedError, match=r"node\.id names pod"):
            authenticate(context, SimpleNamespace(id=node))
