"""One container of a pod over all its starts: start or find it, wait for its end, start it again as the policy says."""

import asyncio
import logging
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hauberk.model.kind import Object
from hauberk.node import container_spec, hook, probe
from hauberk.node.container_spec import ImageRefusedError
from hauberk.node.driver import ContainerSpec, ContainerState, DriverError
from hauberk.node.environment import ConfigurationError
from hauberk.node.pod_record import PodRecord
from hauberk.node.pod_setup import Node
from hauberk.node.pod_status import RESET_AFTER, ContainerProgress, back_off, restarts

log = logging.getLogger(__name__)
KEPT_STARTS = 2
LEAST_GRACE = 2.0
HOOK_SECONDS = 3600.0
CONFIGURATION_RETRY_SECONDS = 2.0

Build = Callable[[Mapping[str, Any], int], Awaitable[ContainerSpec]]
"""The specification of a start; raises `ConfigurationError`."""


class ContainerWorker:
    """Drives one container; `changed` is called after each change of `progress`."""

    def __init__(
        self, node: Node, record: PodRecord, pod: Object, container: Mapping[str, Any], policy: str,
        build: Build, changed: Callable[[], None], *, sidecar: bool = False,
    ) -> None:  # fmt: skip
        self._node = node
        self._record = record
        self._pod = pod
        self._container = container
        self._policy = policy
        self._build = build
        self._changed = changed
        self._namespace = node.network.of(
            record.uid, record.ip, record.gateway, proxy_uid=record.proxy_uid
        ).pod
        self.progress = ContainerProgress(container["name"], container.get("image") or "", sidecar=sidecar)
        self.begun = asyncio.Event()
        """Set once it has started for the first time: what comes after a sidecar may start."""
        self._stopping: asyncio.Future[ContainerState] | None = None
        self._recall()

    async def run(self) -> None:
        """Returns when the container has ended for good."""
        while True:
            if self.progress.state is None:
                await self._start()
                await self._after_start()
            ended = await self._follow()
            if not restarts(self._policy, ended):
                return
            await self._wait_before_restart(ended)

    async def stop(self, grace: float) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds; returns when the container has ended."""
        if not self.progress.running:
            return
        self.progress.state = await self._end(grace)
        self._set(ready=False)

    @property
    def runs_on(self) -> bool:
        """Whether it is to run, now or again."""
        state = self.progress.state
        return state is None or state.phase == "running" or restarts(self._policy, state)

    def again(self) -> None:
        """A further start from the beginning, as when the pod's namespaces are gone after a restart of the machine."""
        if self.progress.state is not None:
            self.progress.last, self.progress.state = self.progress.state, None
            self.progress.attempt += 1
            self.progress.started = self.progress.ready = False
            self.progress.waiting = ("ContainerCreating", "")

    @property
    def _folder(self) -> Path:
        return container_spec.folder(
            self._node.settings, self._record.uid, self.progress.name, self.progress.attempt
        )

    def _recall(self) -> None:
        """What a driver kept of this container while no agent was there."""
        parent = self._folder.parent
        attempts = sorted(int(each.name) for each in parent.iterdir()) if parent.is_dir() else []
        for attempt in attempts[-KEPT_STARTS:]:
            self.progress.attempt = attempt
            self.progress.last, self.progress.state = (
                self.progress.state,
                self._node.driver.state(self._folder),
            )
        if self.progress.running and (before := self._told()):
            # Its probes have not been made yet by this agent: what the last one knew holds until they are.
            self.progress.started = self.progress.begun = bool(before.get("started"))
            self.progress.ready = bool(before.get("ready"))

    def _told(self) -> Mapping[str, Any] | None:
        """What the API knows of this start."""
        status = self._pod.get("status") or {}
        known = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
        found = next((each for each in known if each["name"] == self.progress.name), None)
        return found if found and found.get("restartCount") == self.progress.attempt else None

    async def _start(self) -> None:
        while True:
            try:
                container_spec.check_image(self._container, self._record.gateway)
                spec = await self._build(self._container, self.progress.attempt)
                await self._node.driver.start(spec)
                break
            except ImageRefusedError as error:
                self._wait_for("ErrImagePull", str(error), "Failed")
                await asyncio.sleep(back_off(5))
            except ConfigurationError as error:
                self._wait_for("CreateContainerConfigError", str(error), "Failed")
                await asyncio.sleep(CONFIGURATION_RETRY_SECONDS)
            except DriverError as error:
                self._wait_for("RunContainerError", str(error), "Failed")
                await asyncio.sleep(back_off(0))
            except OSError as error:
                # As when the disk is full or no descriptor is left: it goes on once there is room.
                self._wait_for("RunContainerError", str(error), "Failed")
                await asyncio.sleep(CONFIGURATION_RETRY_SECONDS)
        self._tell("Started", f"Started container {self.progress.name}")

    async def _follow(self) -> ContainerState:
        """Probes while it runs, returns its end."""
        self.progress.state = self._node.driver.state(self._folder)
        ending = asyncio.ensure_future(self._node.driver.wait(self._folder))
        probing = asyncio.ensure_future(self._probe())
        if not self._container.get("startupProbe"):
            self._has_started()
            self.progress.ready = self.progress.ready or not self._container.get("readinessProbe")
        if self.progress.started:
            self.begun.set()
        self._changed()
        try:
            await asyncio.wait({ending, probing}, return_when=asyncio.FIRST_COMPLETED)
            if probing.done() and probing.exception() is not None:
                log.error("%s/%s: probe: %s", self._record.namespace, self._record.name, probing.exception())
            ended = await ending
        finally:
            ending.cancel()
            probing.cancel()
        self.progress.state = ended
        self._set(ready=False)
        return ended

    async def _probe(self) -> None:
        if (startup := self._container.get("startupProbe")) and not self.progress.started:
            succeeded = asyncio.Event()

            def started(yes: bool, why: str) -> None:
                if yes:
                    succeeded.set()
                else:
                    self._unhealthy("Startup", why)

            checking = asyncio.ensure_future(self._each(startup, started))
            try:
                await succeeded.wait()
            finally:
                checking.cancel()
            self._has_started()
            self._set(ready=not self._container.get("readinessProbe"))
        async with asyncio.TaskGroup() as group:
            if readiness := self._container.get("readinessProbe"):
                group.create_task(self._each(readiness, self._readiness))
            if liveness := self._container.get("livenessProbe"):
                group.create_task(
                    self._each(liveness, lambda yes, why: None if yes else self._unhealthy("Liveness", why))
                )

    async def _each(self, wanted: Mapping[str, Any], verdict: Callable[[bool, str], None]) -> None:
        await probe.follow(
            wanted, self._container, self._namespace, self._record.address, self._execute, verdict
        )

    async def _execute(self, command: list[str]) -> int:
        process = await self._node.driver.execute(self._folder, command)
        try:
            await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        return process.returncode if process.returncode is not None else 1

    def _readiness(self, yes: bool, why: str) -> None:
        if not yes and why:
            self._tell("Unhealthy", f"Readiness probe failed: {why}", warning=True)
        self._set(ready=yes)

    def _unhealthy(self, which: str, why: str) -> None:
        self._tell("Unhealthy", f"{which} probe failed: {why}; the container is stopped", warning=True)
        grace = float(self._pod["spec"].get("terminationGracePeriodSeconds") or 30)
        if self._stopping is None or self._stopping.done():
            self._stopping = asyncio.ensure_future(self._end(grace))

    async def _end(self, grace: float) -> ContainerState:
        """`preStop` and SIGTERM, and SIGKILL when `grace` seconds are over; none of the first two without any."""
        folder, loop = self._folder, asyncio.get_running_loop()
        deadline = loop.time() + grace
        if grace > 0:
            if (problem := await self._hook("preStop", grace)) is not None:
                self._tell("FailedPreStopHook", f"preStop: {problem}", warning=True)
            await self._node.driver.signal(folder, signal.SIGTERM)
            # As a kubelet: a hook that took all the time leaves the program a moment.
            deadline = max(deadline, loop.time() + LEAST_GRACE)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._node.driver.wait(folder)
        except TimeoutError:
            await self._node.driver.signal(folder, signal.SIGKILL)
            return await self._node.driver.wait(folder)

    async def _after_start(self) -> None:
        self.progress.state = self._node.driver.state(self._folder)
        self._changed()
        if (problem := await self._hook("postStart", HOOK_SECONDS)) is not None:
            self._tell("FailedPostStartHook", f"postStart: {problem}; the container is stopped", warning=True)
            await self._end(float(self._pod["spec"].get("terminationGracePeriodSeconds") or 30))

    async def _hook(self, which: str, timeout: float) -> str | None:
        handler = (self._container.get("lifecycle") or {}).get(which)
        if not handler:
            return None
        return await hook.run(
            handler, self._container, self._namespace, self._record.address, self._execute, timeout
        )

    def _has_started(self) -> None:
        self.progress.started = self.progress.begun = True
        self.begun.set()

    async def _wait_before_restart(self, ended: ContainerState) -> None:
        attempt = self.progress.attempt
        wait = back_off(attempt - 1) if attempt else 0.0
        if self._ran_long:
            wait = 0.0
        self.progress.last = ended
        if wait:
            self.progress.state = None
            words = f"back-off {wait:g}s restarting failed container={self.progress.name}"
            self._wait_for("CrashLoopBackOff", words, "BackOff")
            await asyncio.sleep(wait)
        shutil.rmtree(self._folder.parent / str(attempt - KEPT_STARTS + 1), ignore_errors=True)
        self.progress.attempt = attempt + 1
        self.progress.state = None
        self.progress.started = False
        self.progress.waiting = ("ContainerCreating", "")

    @property
    def _ran_long(self) -> bool:
        state = self.progress.state
        if state is None or not (state.started_at and state.finished_at):
            return False
        lasted = datetime.fromisoformat(state.finished_at) - datetime.fromisoformat(state.started_at)
        return lasted.total_seconds() > RESET_AFTER

    def _wait_for(self, reason: str, message: str, event: str) -> None:
        if self.progress.waiting != (reason, message):
            self._tell(event, message, warning=True)
        self.progress.waiting = (reason, message)
        self._changed()

    def _set(self, *, ready: bool) -> None:
        self.progress.ready = ready and self.progress.running
        self._changed()

    def _tell(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._node.events.tell(self._pod, reason, message, warning=warning, container=self.progress.name)
