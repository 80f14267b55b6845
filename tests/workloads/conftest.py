"""The controllers against an API in memory, and a node that does what a node says."""

import asyncio
import copy
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hauberk.model import kinds
from hauberk.model.kind import Object


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


MemoryClient = _load("memory_client").MemoryClient


class World:
    """An API, its controllers, and one node whose pods do what `behave` says."""

    def __init__(self, lag: float) -> None:
        self.api: Any = MemoryClient(lag)
        self.behave: Callable[[Object], dict[str, Any]] = lambda _pod: running()
        self.most_pods: dict[str, int] = {}

    async def create(self, kind: str, obj: Object) -> Object:
        found = kinds.find(kind)
        assert found
        return await self.api.create(found, obj)

    async def edit(self, kind: str, name: str, patch: Any) -> Object:
        found = kinds.find(kind)
        assert found
        held = await self.api.get(found, "bank", name)
        changed = _merge(held, patch)
        changed["metadata"]["resourceVersion"] = held["metadata"]["resourceVersion"]
        return await self.api.update(found, changed)

    def get(self, kind: str, name: str, namespace: str = "bank") -> Object:
        return self.api.objects[kind, namespace, name]

    async def until(self, what: Callable[[], Any], seconds: float = 10) -> Any:
        async with asyncio.timeout(seconds):
            while not (found := _attempt(what)):  # noqa: ASYNC110 (any condition)
                await asyncio.sleep(0.005)
        return found

    async def node(self) -> None:
        """Starts pods that are bound, ends those that are to go."""
        pod_kind = kinds.POD
        while True:
            for pod in self.api.all("Pod"):
                if not pod["spec"].get("nodeName"):
                    continue
                wanted = copy.deepcopy(pod)
                if pod["metadata"].get("deletionTimestamp"):
                    wanted["status"] = {"phase": "Failed"}
                elif pod.get("status", {}).get("phase", "Pending") == "Pending":
                    number = self.api.revision % 250
                    wanted["status"] = {"podIP": f"10.66.0.{number + 1}", **self.behave(pod)}
                if wanted != pod:
                    await self.api.update(pod_kind, wanted, subresource="status")
            await asyncio.sleep(0.005)


def running(ready: bool = True) -> dict[str, Any]:
    state = "True" if ready else "False"
    condition = {"type": "Ready", "status": state, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {"phase": "Running", "conditions": [condition]}


def _attempt(what: Callable[[], Any]) -> Any:
    try:
        return what()
    except (KeyError, IndexError):
        return None


def _merge(obj: Any, patch: Any) -> Any:
    if not isinstance(obj, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    return {**obj, **{name: _merge(obj.get(name), value) for name, value in patch.items()}}


@pytest.fixture(params=[0.0, 0.08], ids=["prompt", "late"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Once with watches that are prompt, once with watches that come late."""
    async with controlled(World(request.param)) as made:
        yield made


@asynccontextmanager
async def controlled(world: World) -> AsyncIterator[World]:
    from hauberk.workloads.run import run_controllers

    await world.create("Namespace", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bank"}})
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}, "spec": {}, "status": ready}
    await world.create("Node", node)
    tasks = [
        asyncio.create_task(run_controllers(world.api, lambda: "ROOT")),
        asyncio.create_task(world.node()),
    ]
    try:
        yield world
    finally:
        for task in tasks:
            assert not task.done(), task.exception()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
