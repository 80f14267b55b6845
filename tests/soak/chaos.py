"""What is done to the mesh while it is called: one thing after the other, each until it has settled."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.instance_testing.instance import TestInstance, wait_until
from tests.soak import manifests
from tests.soak.manifests import NAMESPACE, REPLICAS, Object
from tests.soak.model import Action

SETTLED = 90.0
"""Seconds within which every change must have come about."""
AFTER_A_KILL = 3.0
"""Seconds after which calls must work again that met a killed process: a pod's kernel repeats a lost SYN after one."""


class Chaos:
    """Each method does one thing, waits until it has settled and says what it was."""

    def __init__(self, mesh: TestInstance, folder: Path, chance: random.Random) -> None:
        self._mesh, self._folder, self._chance = mesh, folder, chance
        self._replicas = REPLICAS

    def next(self) -> Action:
        """One thing, by chance."""
        things: list[Callable[[], Action]] = [
            self.kill_proxy, self.kill_program, self.freeze_program, self.kill_control_plane, self.kill_node,
            self.roll, self.scale, self.forbid, self.change_route,
        ]  # fmt: skip
        return self._chance.choice(things)()

    def kill_proxy(self) -> Action:
        pod = self._chance.choice(self._pods())
        began = time.time()
        os.kill(_proxy(self._mesh, pod), signal.SIGKILL)
        return Action(
            f"kill -9 the proxy of {pod['metadata']['name']}", began, began + AFTER_A_KILL, cuts=True
        )

    def kill_program(self) -> Action:
        pod = self._chance.choice(self._pods("service"))
        began = time.time()
        os.kill(self._program(pod), signal.SIGKILL)
        self._wait_ready()
        # The pod is called until its readiness has been seen to be gone; then the program is started anew.
        return Action(f"kill -9 the program of {pod['metadata']['name']}", began, time.time() + 1, cuts=True)

    def freeze_program(self) -> Action:
        """Its kernel goes on to accept connections; nobody answers."""
        pod, began = self._chance.choice(self._pods("service")), time.time()
        pid = self._program(pod)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3)  # how long it is frozen is the action itself
        os.kill(pid, signal.SIGCONT)
        return Action(f"freeze the program of {pod['metadata']['name']}", began, time.time() + 2, cuts=True)

    def kill_control_plane(self) -> Action:
        return self._kill_and_up("hauberkd")

    def kill_node(self) -> Action:
        return self._kill_and_up("node")

    def roll(self) -> Action:
        began = time.time()
        change = {"spec": {"template": {"metadata": {"annotations": {"rolled": str(began)}}}}}
        self._patch("deployment", "service", change)
        self._wait_ready()
        return Action("roll the service", began, time.time())

    def scale(self) -> Action:
        began, self._replicas = time.time(), self._chance.choice([2, 3, 4])
        self._patch("deployment", "service", {"spec": {"replicas": self._replicas}})
        self._wait_ready()
        return Action(f"scale the service to {self._replicas}", began, time.time())

    def forbid(self) -> Action:
        kind = self._chance.choice(["fast", "slow", "big"])
        began = time.time()
        self._mesh.said("apply", "-f", "-", text=json.dumps(manifests.deny(kind)))
        settled = time.time() + 2
        time.sleep(4)  # how long it holds is the action itself
        lifted = time.time()
        self._mesh.said("delete", "authorizationpolicy", "deny", "-n", NAMESPACE)
        relieved = time.time() + 2
        return Action(f"forbid {kind}", began, settled, forbids=kind, lifted=lifted, relieved=relieved)

    def change_route(self) -> Action:
        began = time.time()
        header = {"headers": {"response": {"set": {"x-soak": str(began)}}}}
        spec = manifests.objects()
        (virtual,) = [one for one in spec if one["kind"] == "VirtualService"]
        virtual["spec"]["http"][0].update(header)
        self._mesh.said("apply", "-f", "-", text=json.dumps(virtual))
        return Action("change the route", began, time.time())

    def _kill_and_up(self, process: str) -> Action:
        began = time.time()
        os.kill(self._mesh.pid_of(process), signal.SIGKILL)
        time.sleep(self._chance.random() * 3)  # how long it is away is the action itself
        self._mesh.said("up", "-d", str(self._folder), timeout=2 * SETTLED)
        self._replicas = REPLICAS  # it applies the manifests
        self._wait_ready()
        return Action(f"kill -9 {process}", began, time.time())

    def _pods(self, app: str = "") -> list[Object]:
        selector = ["-l", f"app={app}"] if app else []
        said = json.loads(self._mesh.said("get", "pods", "-n", NAMESPACE, *selector, "-o", "json"))
        return [
            pod for pod in said["items"] if _is_ready(pod) and not pod["metadata"].get("deletionTimestamp")
        ]

    def _program(self, pod: Object) -> int:
        folder = self._mesh.state / "node/pods" / pod["metadata"]["uid"] / "containers/main"
        newest = max(folder.iterdir(), key=lambda entry: int(entry.name))
        return int(json.loads((newest / "state.json").read_text())["pid"])

    def _wait_ready(self) -> None:
        def ready() -> bool:
            said = json.loads(
                self._mesh.said("get", "pods", "-n", NAMESPACE, "-l", "app=service", "-o", "json")
            )
            status = self._mesh.object("deployment", "service", NAMESPACE)["status"]
            return (
                status.get("observedGeneration") == self._generation()
                and status.get("updatedReplicas") == status.get("readyReplicas") == self._replicas
                and len(said["items"]) == self._replicas
            )

        wait_until(ready, SETTLED, f"{self._replicas} new pods of the service are ready and the old are gone")

    def _generation(self) -> int:
        return int(self._mesh.object("deployment", "service", NAMESPACE)["metadata"]["generation"])

    def _patch(self, kind: str, name: str, change: Object) -> None:
        found = self._mesh.object(kind, name, NAMESPACE)
        _merge(found, change)
        del found["status"]
        self._mesh.said("apply", "-f", "-", text=json.dumps(found))


def _merge(target: Object, change: Object) -> None:
    for name, value in change.items():
        below = target.get(name)
        if isinstance(value, dict) and isinstance(below, dict):
            _merge(below, value)
        else:
            target[name] = value


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _proxy(mesh: TestInstance, pod: Object) -> int:
    return int((mesh.run / "pods" / pod["metadata"]["uid"] / "node/proxy.pid").read_text().split()[0])
