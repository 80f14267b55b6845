"""Owners, finalizers and namespaces: what goes when something is deleted."""

import asyncio
from typing import Any

import pytest

from hauberk.model.kind import Kind
from hauberk.model.kinds import CONFIG_MAP, NAMESPACE, POD, SECRET
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient
from hauberk.store.options import Options
from hauberk.store.server import ApiServer
from hauberk.store.storage import Write


def config_map(name: str, owner: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    if owner is not None:
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "blockOwnerDeletion": True}
        reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
        metadata["ownerReferences"] = [reference]
    return {"metadata": {"name": name, "namespace": "default", **metadata}, "data": {}}


async def gone(client: HttpClient, kind: Kind, namespace: str | None, name: str) -> None:
    """Wait until an object is gone."""
    async with asyncio.timeout(10):
        while True:
            try:
                await client.get(kind, namespace, name)
            except ApiError as error:
                assert error.code == 404
                return
            await asyncio.sleep(0.01)


async def test_dependents_go_after_their_owner(client: HttpClient) -> None:
    owner = await client.create(CONFIG_MAP, config_map("owner"))
    child = await client.create(CONFIG_MAP, config_map("child", owner))
    await client.create(CONFIG_MAP, config_map("grandchild", child))
    await client.create(CONFIG_MAP, config_map("stranger"))
    await client.delete(CONFIG_MAP, "default", "owner")
    await gone(client, CONFIG_MAP, "default", "grandchild")
    await gone(client, CONFIG_MAP, "default", "child")
    assert await client.get(CONFIG_MAP, "default", "stranger")


async def test_dependents_go_before_their_owner_in_the_foreground(client: HttpClient) -> None:
    owner = await client.create(CONFIG_MAP, config_map("owner"))
    await client.create(CONFIG_MAP, config_map("child", owner, finalizers=["example.com/hold"]))
    await client.delete(CONFIG_MAP, "default", "owner", propagation="Foreground")
    async with asyncio.timeout(10):
        async for event in client.watch(CONFIG_MAP, "default", resource_version="0"):
            metadata = event.object["metadata"]
            if metadata["name"] == "child" and metadata.get("deletionTimestamp"):
                break
    held = await client.get(CONFIG_MAP, "default", "owner")
    assert held["metadata"]["finalizers"] == ["foregroundDeletion"]
    await client.patch(CONFIG_MAP, "default", "child", {"metadata": {"finalizers": None}})
    await gone(client, CONFIG_MAP, "default", "child")
    await gone(client, CONFIG_MAP, "default", "owner")


@pytest.mark.parametrize("names", ["a b", "owner child"])
async def test_orphans_stay(client: HttpClient, names: str) -> None:
    """Whichever the collector comes to first."""
    first, second = names.split()
    owner = await client.create(CONFIG_MAP, config_map(first))
    await client.create(CONFIG_MAP, config_map(second, owner))
    await client.delete(CONFIG_MAP, "default", first, propagation="Orphan")
    await gone(client, CONFIG_MAP, "default", first)
    assert not (await client.get(CONFIG_MAP, "default", second))["metadata"].get("ownerReferences")
    # What is deleted later makes the collector look over everything again.
    other = await client.create(CONFIG_MAP, config_map("other"))
    await client.create(CONFIG_MAP, config_map("others", other))
    await client.delete(CONFIG_MAP, "default", "other")
    await gone(client, CONFIG_MAP, "default", "others")
    assert await client.get(CONFIG_MAP, "default", second)


async def test_a_finalizer_holds_and_none_can_be_added_late(client: HttpClient) -> None:
    await client.create(CONFIG_MAP, config_map("a", finalizers=["example.com/hold"]))
    await client.delete(CONFIG_MAP, "default", "a")
    held = await client.get(CONFIG_MAP, "default", "a")
    assert held["metadata"]["deletionTimestamp"]
    with pytest.raises(ApiError) as late:
        await client.patch(
            CONFIG_MAP, "default", "a", {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
        )
    assert late.value.code == 422
    await client.patch(CONFIG_MAP, "default", "a", {"metadata": {"finalizers": []}})
    await gone(client, CONFIG_MAP, "default", "a")


async def test_a_namespace_takes_everything_with_it(client: HttpClient) -> None:
    await client.create(NAMESPACE, {"metadata": {"name": "bank"}})
    held = config_map("a", finalizers=["example.com/hold"])
    held["metadata"]["namespace"] = "bank"
    await client.create(CONFIG_MAP, held)
    await client.create(SECRET, {"metadata": {"name": "s", "namespace": "bank"}})
    await client.delete(NAMESPACE, None, "bank")
    await gone(client, SECRET, "bank", "s")
    assert (await client.get(NAMESPACE, None, "bank"))["status"]["phase"] == "Terminating"
    with pytest.raises(ApiError) as late:
        await client.create(SECRET, {"metadata": {"name": "t", "namespace": "bank"}})
    assert late.value.code == 403
    assert "because it is being terminated" in late.value.message
    await client.patch(CONFIG_MAP, "bank", "a", {"metadata": {"finalizers": []}})
    await gone(client, NAMESPACE, None, "bank")


async def test_a_pod_has_time_to_end_if_a_node_runs_it(client: HttpClient) -> None:
    spec = {"containers": [{"name": "c", "image": "host", "command": ["true"]}]}
    for name, more in (("pending", {}), ("running", {"nodeName": "one"})):
        await client.create(
            POD, {"metadata": {"name": name, "namespace": "default"}, "spec": {**spec, **more}}
        )
        await client.delete(POD, "default", name)
    await gone(client, POD, "default", "pending")
    metadata = (await client.get(POD, "default", "running"))["metadata"]
    assert metadata["deletionTimestamp"] and metadata["deletionGracePeriodSeconds"] == 30
    await client.delete(POD, "default", "running", grace_period_seconds=5)
    assert (await client.get(POD, "default", "running"))["metadata"]["deletionGracePeriodSeconds"] == 5
    await client.delete(POD, "default", "running", uid=metadata["uid"], grace_period_seconds=0)
    await gone(client, POD, "default", "running")


def pod(name: str, **spec: Any) -> dict[str, Any]:
    spec = {"nodeName": "node", "containers": [{"name": "a", "image": "host"}], **spec}
    return {"metadata": {"name": name, "namespace": "doomed"}, "spec": spec}


async def stored_before_admission_refused_it(server: ApiServer, name: str, **spec: Any) -> None:
    """A pod as an older version of this program took it."""
    made = await server.objects.create(POD, "doomed", pod(name), Options())
    metadata = {**made.object["metadata"], "finalizers": ["example.com/hold"]}
    old = {**made.object, "metadata": metadata, "spec": {**made.object["spec"], **spec}}
    await server.storage.write(Write(made.key, old, made))


@pytest.mark.parametrize("grace", [10**12, 2**63 - 1, -(2**63)])
async def test_no_grace_period_ends_the_server(client: HttpClient, server: ApiServer, grace: int) -> None:
    await client.create(NAMESPACE, {"metadata": {"name": "doomed"}})
    refused = pod("refused", terminationGracePeriodSeconds=grace)
    with pytest.raises(ApiError, match="terminationGracePeriodSeconds"):
        await client.create(POD, refused)
    await stored_before_admission_refused_it(server, "old", terminationGracePeriodSeconds=grace)
    await client.delete(NAMESPACE, None, "doomed")
    async with asyncio.timeout(10):
        async for event in client.watch(POD, "doomed", resource_version="0"):
            if (found := event.object["metadata"]).get("deletionTimestamp"):
                break
    assert 0 <= found["deletionGracePeriodSeconds"] < 2**31


async def test_deletion_takes_any_grace_period(client: HttpClient) -> None:
    await client.create(NAMESPACE, {"metadata": {"name": "doomed"}})
    await client.create(POD, pod("a"))
    await client.delete(POD, "doomed", "a", grace_period_seconds=10**12)
    assert (await client.get(POD, "doomed", "a"))["metadata"]["deletionGracePeriodSeconds"] == 2**31 - 1


@pytest.mark.parametrize("error", [OverflowError, ApiError(413, "RequestEntityTooLarge", "secret")])
async def test_an_object_that_cannot_be_deleted_holds_up_no_other(
    client: HttpClient,
    server: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """Neither in its namespace nor among the dependents of what is gone, and it is said which one it is."""
    await client.create(NAMESPACE, {"metadata": {"name": "doomed"}})
    owner = await client.create(CONFIG_MAP, config_map("owner"))
    for name in ("bad", "good"):
        await client.create(POD, pod(name, nodeName=""))
        await client.create(CONFIG_MAP, config_map(name, owner))
    delete = server.objects.delete

    async def deleting(kind: Kind, namespace: str, name: str, options: Any) -> Any:
        if name == "bad":
            raise error
        return await delete(kind, namespace, name, options)

    monkeypatch.setattr(server.objects, "delete", deleting)
    await client.delete(NAMESPACE, None, "doomed")
    await client.delete(CONFIG_MAP, "default", "owner")
    await gone(client, POD, "doomed", "good")
    await gone(client, CONFIG_MAP, "default", "good")
    assert "namespaces: pods/doomed/bad" in caplog.text
    assert "garbage collection: configmaps/default/bad" in caplog.text
    assert "secret" not in caplog.text
    monkeypatch.undo()
    await client.create(CONFIG_MAP, config_map("another"))
    await client.delete(CONFIG_MAP, "default", "another")  # wakes both
    await gone(client, POD, "doomed", "bad")
    await gone(client, CONFIG_MAP, "default", "bad")
