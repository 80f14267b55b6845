"""Watches: resuming, what is too old, selectors, bookmarks, initial events, and who does not keep up."""

import asyncio
from typing import Any

import aiohttp
import msgspec
import pytest

from hauberk.model.kinds import CONFIG_MAP
from hauberk.store import storage
from hauberk.store.client import ApiError, Event
from hauberk.store.http_client import HttpClient
from hauberk.store.informer import Informer
from hauberk.store.server import ApiServer

WHERE = "/api/v1/namespaces/default/configmaps"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}}, "data": data}


async def watched(
    client: HttpClient, query: dict[str, str], count: int, accept: str = "application/json"
) -> list[dict[str, Any]]:
    """The first `count` events of a watch."""
    found: list[dict[str, Any]] = []
    url = client.connection.server + WHERE
    told = {"params": {"watch": "true", **query}, "headers": {"accept": accept}}
    async with asyncio.timeout(10), client._open().get(url, **told) as answer:
        assert answer.status == 200, await answer.text()
        while len(found) < count and (line := await answer.content.readline()):
            found.append(msgspec.json.decode(line))
    return found


async def test_a_watch_resumes_where_it_was(client: HttpClient) -> None:
    first = await client.create(CONFIG_MAP, config_map("a"))
    await client.patch(CONFIG_MAP, "default", "a", {"data": {"x": "1"}})
    await client.delete(CONFIG_MAP, "default", "a")
    events = await watched(client, {"resourceVersion": first["metadata"]["resourceVersion"]}, 2)
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(versions)
    assert versions[0] > int(first["metadata"]["resourceVersion"])


async def test_a_compacted_version_is_gone(client: HttpClient, server: ApiServer) -> None:
    first = await client.create(CONFIG_MAP, config_map("a"))
    await client.create(CONFIG_MAP, config_map("b"))
    page = await client.list(CONFIG_MAP, "default", limit=1)
    await client.create(CONFIG_MAP, config_map("c"))
    await server.storage.compact(server.storage.revision)
    with pytest.raises(ApiError) as gone:
        async for _ in client.watch(CONFIG_MAP, resource_version=first["metadata"]["resourceVersion"]):
            pass
    assert (gone.value.code, gone.value.reason) == (410, "Expired")
    with pytest.raises(ApiError) as old:
        await client.list(CONFIG_MAP, "default", limit=1, continue_token=page.continue_token)
    assert (old.value.code, old.value.reason) == (410, "Expired")
    assert len((await client.list(CONFIG_MAP, "default")).items) == 3


async def test_a_version_to_come_is_refused(client: HttpClient) -> None:
    with pytest.raises(ApiError) as gone:
        async for _ in client.watch(CONFIG_MAP, resource_version="999999999"):
            pass
    assert gone.value.code == 410


async def test_initial_events_end_with_a_bookmark(client: HttpClient) -> None:
    for name in "ab":
        await client.create(CONFIG_MAP, config_map(name))
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    events = await watched(client, query, 3)
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK"]
    assert events[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    url = client.connection.server + WHERE
    async with client._open().get(url, params={"watch": "true", "sendInitialEvents": "true"}) as answer:
        assert answer.status == 400


async def test_all_of_a_watch_for_metadata_is_metadata(client: HttpClient) -> None:
    """A client for metadata alone knows no other kind, and ends a watch whose bookmark is of one."""
    await client.create(CONFIG_MAP, config_map("a", x="1"))
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    form = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    events = await watched(client, query, 2, form)
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    for event in events:
        assert event["object"]["apiVersion"] == "meta.k8s.io/v1"
        assert event["object"]["kind"] == "PartialObjectMetadata"
        assert event["object"].keys() == {"apiVersion", "kind", "metadata"}


async def test_a_watch_ends_when_its_time_is_over(client: HttpClient) -> None:
    assert await watched(client, {"timeoutSeconds": "1", "resourceVersion": "0"}, 1) == []


async def test_tables_are_watched(client: HttpClient) -> None:
    await client.create(CONFIG_MAP, config_map("a", x="1"))
    url = client.connection.server + WHERE
    headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with asyncio.timeout(10), client._open().get(url, params={"watch": "1"}, headers=headers) as answer:
        event = msgspec.json.decode(await answer.content.readline())
    assert event["object"]["kind"] == "Table"
    assert event["object"]["rows"][0]["cells"][:2] == ["a", 1]


async def test_who_does_not_keep_up_is_dropped(
    client: HttpClient, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "WATCH_BACKLOG", 5)
    watcher_is_slow = server.storage.watch("configmaps", None, server.storage.revision)
    with watcher_is_slow as slow:
        for number in range(7):
            await client.create(CONFIG_MAP, config_map(f"c{number}"))
        with pytest.raises(storage.LaggingError):
            slow.take()
    assert len((await client.list(CONFIG_MAP, "default")).items) == 7


async def test_an_object_is_encoded_once_for_all(client: HttpClient, server: ApiServer) -> None:
    made = await client.create(CONFIG_MAP, config_map("a"))
    stored = server.storage.objects("configmaps", "default")[0]
    assert stored.encoded("v1") is stored.encoded("v1")
    assert msgspec.json.decode(stored.encoded("v1")) == made


async def test_malformed_requests_are_told_what_is_wrong(client: HttpClient) -> None:
    session = client._open()
    url = client.connection.server + WHERE

    async def answered(**request: Any) -> tuple[int, str]:
        async with session.request(**request) as answer:
            body = await answer.json()
            assert body["kind"] == "Status"
            return answer.status, body["message"]

    json = {"Content-Type": "application/json"}
    assert (await answered(method="POST", url=url, data=b"{", headers=json))[0] == 400
    assert (await answered(method="POST", url=url, data=b"[]", headers=json))[0] == 400
    assert (await answered(method="POST", url=url, data=b"x" * (4 << 20), headers=json))[0] == 413
    assert (await answered(method="POST", url=url, data=b"x", headers={"Content-Type": "text/plain"}))[
        0
    ] == 415
    assert (await answered(method="GET", url=url, params={"labelSelector": "a in b"}))[0] == 400
    assert (await answered(method="GET", url=url, params={"fieldSelector": "spec.x=1"}))[0] == 400
    assert (await answered(method="GET", url=url, params={"limit": "-1"}))[0] == 400
    assert (await answered(method="GET", url=url, params={"continue": "garbage"}))[0] == 400
    assert (await answered(method="PUT", url=url, data=b"{}", headers=json))[0] == 405
    assert (await answered(method="GET", url=url, headers={"Accept": "text/html"}))[0] == 406
    patch = {"Content-Type": "application/apply-patch+yaml"}
    assert (await answered(method="PATCH", url=f"{url}/a", data=b"{}", headers=patch))[0] == 415
    await client.create(CONFIG_MAP, config_map("a"))
    patch = {"Content-Type": "application/json-patch+json"}
    for body in (
        b"{}",
        b'[{"op":"no"}]',
        b'[{"op":"test","path":"/a","value":1}]',
        b"[1]",
        b'[{"op":"add"}]',
    ):
        code, _ = await answered(method="PATCH", url=f"{url}/a", data=body, headers=patch)
        assert code in {400, 422}
    assert isinstance(session, aiohttp.ClientSession)


async def test_a_subscriber_that_an_object_overwhelms_hears_of_the_others(
    client: HttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    informer, heard = Informer(client, CONFIG_MAP, "default"), asyncio.Event()

    def hear(event: Event) -> None:
        if event.object["metadata"]["name"] == "bad":
            raise RuntimeError("secret")
        heard.set()

    informer.subscribe(hear)
    following = asyncio.create_task(informer.run())
    for name in ("bad", "good"):
        await client.create(CONFIG_MAP, {"metadata": {"name": name, "namespace": "default"}})
    async with asyncio.timeout(10):
        await heard.wait()
    assert not following.done()
    following.cancel()
    assert "informer: ADDED configmaps/default/bad: fault: RuntimeError < " in caplog.text
    assert "secret" not in caplog.text
