"""The official Python client and lightkube, each against the server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import kubernetes
import lightkube
import pytest
from lightkube.core.exceptions import ApiError as LightkubeError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap
from tests.store.conftest import Authority

from hauberk.store.kubeconfig import format_kubeconfig

T = TypeVar("T")


async def blocking(function: Callable[[], T]) -> T:
    async with asyncio.timeout(30):
        return await asyncio.to_thread(function)


@pytest.fixture
def location(tmp_path: Path) -> str:
    """What these tests look at is the same over every database."""
    return str(tmp_path / "store.db")


@pytest.fixture
def kubeconfig(port: int, authority: Authority, tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig"
    path.write_text(format_kubeconfig(authority.connection(port, "admin", "system:masters")))
    return str(path)


async def test_the_official_client(kubeconfig: str) -> None:
    def work() -> None:
        with kubernetes.config.new_client_from_config(kubeconfig) as api:
            core = kubernetes.client.CoreV1Api(api)
            core.create_namespace({"metadata": {"name": "bank"}})
            made = core.create_namespaced_config_map("bank", {"metadata": {"name": "a"}, "data": {"x": "1"}})
            stream = kubernetes.watch.Watch().stream(
                core.list_namespaced_config_map,
                "bank",
                resource_version=made.metadata.resource_version,
                timeout_seconds=10,
            )
            core.patch_namespaced_config_map("a", "bank", {"data": {"x": "2"}})
            event = next(iter(stream))
            assert (event["type"], event["object"].data) == ("MODIFIED", {"x": "2"})
            page = core.list_config_map_for_all_namespaces(limit=1)
            assert len(page.items) == 1
            custom = kubernetes.client.CustomObjectsApi(api)
            found = custom.list_namespaced_custom_object(
                "networking.istio.io", "v1", "bank", "virtualservices"
            )
            assert found["items"] == []
            with pytest.raises(kubernetes.client.ApiException) as absent:
                core.read_namespaced_config_map("b", "bank")
            assert absent.value.status == 404
            core.delete_namespaced_config_map("a", "bank")
            assert kubernetes.client.VersionApi(api).get_code().major == "1"

    await blocking(work)


async def test_lightkube(kubeconfig: str) -> None:
    def work() -> None:
        client = lightkube.Client(lightkube.KubeConfig.from_file(kubeconfig), namespace="default")
        client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="default"), data={"x": "1"}))
        client.patch(ConfigMap, "a", {"data": {"x": "2"}})
        found = client.get(ConfigMap, "a")
        assert found.data == {"x": "2"}
        found.data = {"x": "3"}
        client.replace(found)
        with pytest.raises(LightkubeError) as stale:
            client.replace(found)
        assert stale.value.status.reason == "Conflict"
        assert [c.metadata.name for c in client.list(ConfigMap) if c.metadata] == ["a"]
        client.delete(ConfigMap, "a")

    await blocking(work)
