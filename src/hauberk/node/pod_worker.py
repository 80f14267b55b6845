"""One pod from its binding to its end: set up, init containers, containers, status, teardown."""

import asyncio
import logging
import random
import shutil
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hauberk.model.kind import Kind, Object
from hauberk.model.kinds import CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, POD, SECRET, SERVICE_ACCOUNT
from hauberk.node import container_spec, environment
from hauberk.node.command import CommandError
from hauberk.node.container_spec import ImageRefusedError
from hauberk.node.container_worker import LEAST_GRACE, ContainerWorker
from hauberk.node.driver import ContainerSpec, ContainerState
from hauberk.node.environment import ConfigurationError, References
from hauberk.node.events import now
from hauberk.node.network import PodNetwork
from hauberk.node.pod_record import PodRecord
from hauberk.node.pod_setup import Node, PodSetup
from hauberk.node.pod_status import status
from hauberk.node.volumes import Volumes
from hauberk.store.client import ApiError

log = logging.getLogger(__name__)
LEAST_WAIT, MOST_WAIT = 0.2, 10.0
REFRESH_SECONDS = 30.0
LOOK_SECONDS = 5.0
"""How often a deadline is looked at: it can be changed while the pod runs."""


class PodWorker:
    """`run` it in a task; `update` it with what the API says. It ends when the pod is gone from here."""

    def __init__(self, node: Node, record: PodRecord, pod: Object) -> None:
        self.record = record
        self.pod = pod
        self._node = node
        self._policy = pod["spec"].get("restartPolicy") or "Always"
        self._deleting = asyncio.Event()
        self._dirty = asyncio.Event()
        self._published: dict[str, Any] | None = None
        self._network_ready = False
        self._started_at = (pod.get("status") or {}).get("startTime") or now()
        self._message: tuple[str, str] | None = None
        self._expired = False
        self._tokens: dict[str, tuple[str, float]] = {}
        self._setup = PodSetup(node, record, pod, self._proxy_restarted)
        init_policy = "Never" if self._policy == "Never" else "OnFailure"
        spec = pod["spec"]
        self.init = [
            self._worker(each, "Always", sidecar=True)
            if each.get("restartPolicy") == "Always"
            else self._worker(each, init_policy)
            for each in spec.get("initContainers") or ()
        ]
        self.main = [self._worker(each, self._policy) for each in spec["containers"]]
        self.update(pod)

    @property
    def run_folder(self) -> Path:
        """The pod's sockets and its proxy's files."""
        return self._setup.run

    @property
    def network(self) -> PodNetwork:
        return self._setup.network

    def update(self, pod: Object | None) -> None:
        """The pod as it is now in the API; None when it is there no more."""
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            self._deleting.set()
        if pod is not None:
            self.pod = pod
            if self._published is not None and _ready_condition(pod) != _ready_condition(
                {"status": self._published}
            ):
                # The control plane has said something else, as when this node was not heard of for a while.
                self._published = None
                self._dirty.set()

    def worker(self, container: str) -> ContainerWorker | None:
        """The worker of the container of that name."""
        return next((each for each in [*self.main, *self.init] if each.progress.name == container), None)

    async def announce(self) -> None:
        """Says what was found of a pod that ran before this agent, before its proxy can hear of anything new."""
        self._recall_network()
        if self._network_ready:
            if self.record.gateway:
                self._gateway_runs()
            await self._publish()

    def _recall_network(self) -> None:
        conditions = (self.pod.get("status") or {}).get("conditions") or ()
        was_there = any(
            each["type"] == "PodReadyToStartContainers" and each["status"] == "True" for each in conditions
        )
        self._network_ready = was_there and self._setup.is_up()

    async def run(self) -> None:
        publishing = asyncio.create_task(self._publish_changes())
        work = asyncio.create_task(self._work())
        deleting = asyncio.create_task(self._deleting.wait())
        expiring = asyncio.create_task(self._deadline())
        try:
            await asyncio.wait({work, deleting, expiring}, return_when=asyncio.FIRST_COMPLETED)
            if expiring.done() and not (work.done() or deleting.done()):
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                await self._expire()
            if work.done() and not work.cancelled() and (error := work.exception()) is not None:
                log.error("%s/%s: %r", self.record.namespace, self.record.name, error, exc_info=error)
                self._message = ("NodeError", str(error))
                self._dirty.set()
            await deleting
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._end()
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._setup.abandon()
            raise
        finally:
            publishing.cancel()
            deleting.cancel()
            expiring.cancel()

    async def _work(self) -> None:
        if (self.pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
            return
        if not self._setup.is_up() and any(each.runs_on for each in self.main):
            # The machine was started anew: what the init containers prepared may be gone with it.
            for each in self.init:
                each.again()
        self._dirty.set()
        await self._set_up()
        if self.record.gateway:
            await self._be_gateway()
        refreshing = asyncio.create_task(self._refresh_volumes())
        try:
            await self._run_containers()
        finally:
            refreshing.cancel()
        # The pod has finished: its proxy leaves after its program.
        self._network_ready = False
        self._dirty.set()
        await self._setup.down()

    async def _run_containers(self) -> None:
        sidecars: list[asyncio.Task[None]] = []
        try:
            for each in self.init:
                if each.progress.sidecar:
                    sidecars.append(asyncio.create_task(each.run()))
                    begun = asyncio.ensure_future(each.begun.wait())
                    await asyncio.wait({begun, sidecars[-1]}, return_when=asyncio.FIRST_COMPLETED)
                    begun.cancel()
                    if sidecars[-1].done():
                        await sidecars[-1]
                elif not each.progress.succeeded:
                    await each.run()
                    if not each.progress.succeeded:
                        break
            else:
                async with asyncio.TaskGroup() as group:
                    for each in self.main:
                        group.create_task(each.run())
        finally:
            for task in sidecars:
                task.cancel()
            await asyncio.gather(*sidecars, return_exceptions=True)
        await self._stop(self.pod["spec"].get("terminationGracePeriodSeconds"))

    async def _set_up(self) -> None:
        wait = LEAST_WAIT
        while True:
            try:
                await self._setup.up()
                break
            except (CommandError, OSError) as error:
                self._node.events.tell(self.pod, "FailedCreatePodSandBox", str(error), warning=True)
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
                wait = min(wait * 2, MOST_WAIT)
        self._network_ready = True
        self._dirty.set()

    async def _be_gateway(self) -> None:
        """The proxy is the program: it has run since the set-up, and ends with the pod."""
        self._gateway_runs()
        self._dirty.set()
        await asyncio.Event().wait()

    def _gateway_runs(self) -> None:
        for each in self.main:
            try:
                container_spec.check_image(
                    self.pod["spec"]["containers"][self.main.index(each)], gateway=True
                )
            except ImageRefusedError as error:
                each.progress.waiting = ("ErrImagePull", str(error))
                continue
            each.progress.state = ContainerState(phase="running", started_at=self._started_at)
            each.progress.started = each.progress.ready = True

    async def _end(self) -> None:
        metadata = self.pod["metadata"]
        grace = metadata.get("deletionGracePeriodSeconds")
        if grace is None:
            grace = self.pod["spec"].get("terminationGracePeriodSeconds")
        await self._stop(grace)
        await self._insist(self._setup.down)
        await self._delete_object()
        shutil.rmtree(self._node.settings.pod_state(self.record.uid), ignore_errors=True)

    async def _stop(self, grace: int | None) -> None:
        """Stops all that runs within `grace` seconds: sidecars last, in the reverse order of their start."""
        running = [
            each for each in [*self.main, *self.init] if each.progress.running and not self.record.gateway
        ]
        if running:
            self._node.events.tell(self.pod, "Killing", "Stopping the pod's containers")
        loop, seconds = asyncio.get_running_loop(), 30.0 if grace is None else float(grace)
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for each in running:
                if not each.progress.sidecar:
                    group.create_task(self._stop_one(each, seconds))
        for each in reversed(running):
            if each.progress.sidecar:
                left = max(LEAST_GRACE, seconds - (loop.time() - began)) if seconds else 0.0
                await self._stop_one(each, left)

    async def _stop_one(self, worker: ContainerWorker, seconds: float) -> None:
        await self._insist(lambda: worker.stop(seconds))

    async def _deadline(self) -> None:
        """Returns when the pod has been active longer than it may (`activeDeadlineSeconds`)."""
        loop = asyncio.get_running_loop()
        # Only what passed before this agent came is reckoned by the clock that people set.
        passed = datetime.now(UTC) - datetime.fromisoformat(self._started_at.replace("Z", "+00:00"))
        began = loop.time() - max(0.0, passed.total_seconds())
        while True:
            allowed = self.pod["spec"].get("activeDeadlineSeconds")
            left = LOOK_SECONDS if allowed is None else began + float(allowed) - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, LOOK_SECONDS))

    async def _expire(self) -> None:
        self._expired = True
        self._message = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        self._node.events.tell(self.pod, *self._message, warning=True)
        await self._stop(self.pod["spec"].get("terminationGracePeriodSeconds"))
        self._network_ready = False
        self._dirty.set()
        await self._insist(self._setup.down)

    async def _insist(self, step: Callable[[], Awaitable[None]]) -> None:
        """What has to be undone is tried until it is, as when no descriptor is left to undo it with.

        After an error of our own too: without its worker the pod's programs and proxy would live on, unseen.
        """
        wait = LEAST_WAIT
        while True:
            try:
                return await step()
            except (OSError, CommandError) as error:
                log.error("%s/%s: ending: %s", self.record.namespace, self.record.name, error)
            except Exception:
                log.exception("%s/%s: ending", self.record.namespace, self.record.name)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
            wait = min(wait * 2, MOST_WAIT)

    async def _delete_object(self) -> None:
        wait = LEAST_WAIT
        while True:
            try:
                await self._node.client.delete(
                    POD, self.record.namespace, self.record.name, uid=self.record.uid, grace_period_seconds=0
                )
                return
            except ApiError as error:
                if error.code in {404, 409}:
                    return
                log.warning("%s/%s: delete: %s", self.record.namespace, self.record.name, error.message)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
            wait = min(wait * 2, MOST_WAIT)

    def _worker(self, container: Mapping[str, Any], policy: str, *, sidecar: bool = False) -> ContainerWorker:
        return ContainerWorker(
            self._node,
            self.record,
            self.pod,
            container,
            policy,
            self._build,
            self._dirty.set,
            sidecar=sidecar,
        )

    async def _build(self, container: Mapping[str, Any], attempt: int) -> ContainerSpec:
        references = await self._references()
        await self._bind_claims()
        directories = await self._lay_out_volumes(references)
        try:
            groups = self._node.control_groups.make(self.record.uid, container)
        except ValueError as error:
            raise ConfigurationError(f'container "{container["name"]}": limits: {error}') from error
        return container_spec.build(
            self._node.settings,
            self.record,
            self._setup.network,
            self.pod,
            container,
            attempt,
            references,
            directories,
            groups,
        )

    async def _references(self) -> References:
        config_maps, secrets = environment.referenced(self.pod)
        return References(await self._read(CONFIG_MAP, config_maps), await self._read(SECRET, secrets))

    async def _read(self, kind: Kind, names: set[str]) -> dict[str, Object]:
        found = {}
        for name in sorted(names):
            try:
                found[name] = await self._node.client.get(kind, self.record.namespace, name)
            except ApiError as error:
                if error.code not in {403, 404}:
                    raise ConfigurationError(f'{kind.singular} "{name}": {error.message}') from error
        return found

    async def _tokens_for_volumes(self) -> dict[str, str]:
        """Tokens of the pod's account, by audience, bound to this pod: they end with it."""
        tokens: dict[str, str] = {}
        account = self.pod["spec"].get("serviceAccountName") or "default"
        for volume in self.pod["spec"].get("volumes") or ():
            for source in (volume.get("projected") or {}).get("sources") or ():
                if (wanted := source.get("serviceAccountToken")) is None:
                    continue
                audience = wanted.get("audience") or ""
                tokens[audience] = await self._token(
                    account, audience, int(wanted.get("expirationSeconds") or 3600)
                )
        return tokens

    async def _token(self, account: str, audience: str, seconds: int) -> str:
        kept = self._tokens.get(audience)
        moment = asyncio.get_running_loop().time()
        if kept is not None and moment < kept[1]:
            return kept[0]
        pod = {"apiVersion": "v1", "kind": "Pod", "name": self.record.name, "uid": self.record.uid}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": pod,
            },
        }
        try:
            answer = await self._node.client.post(
                SERVICE_ACCOUNT, self.record.namespace, account, "token", request
            )
        except ApiError as error:
            raise ConfigurationError(f'token of serviceaccount "{account}": {error.message}') from error
        token = str(answer["status"]["token"])
        # Renewed at half life, so that a program that reads the file now and then always has a good one.
        self._tokens[audience] = (token, moment + seconds / 2)
        return token

    async def _lay_out_volumes(self, references: References) -> dict[str, Path]:
        tokens = await self._tokens_for_volumes()
        volumes = Volumes(
            self.record, self._node.settings.pod_state(self.record.uid), self._node.settings.volumes
        )
        return await asyncio.to_thread(volumes.prepare, self.pod, references, tokens)

    async def _refresh_volumes(self) -> None:
        """ConfigMaps, Secrets and tokens change while the pod runs; environment variables do not."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await self._lay_out_volumes(await self._references())
            except (ConfigurationError, OSError) as error:
                log.warning(
                    "%s/%s: volumes stay as they are: %s", self.record.namespace, self.record.name, error
                )

    async def _bind_claims(self) -> None:
        """A claim of a local directory is bound as soon as a pod uses it."""
        for volume in self.pod["spec"].get("volumes") or ():
            if claim := volume.get("persistentVolumeClaim"):
                name = claim["claimName"]
                try:
                    found = await self._node.client.get(PERSISTENT_VOLUME_CLAIM, self.record.namespace, name)
                    if (found.get("status") or {}).get("phase") != "Bound":
                        capacity = ((found["spec"].get("resources") or {}).get("requests")) or {}
                        bound = {
                            "phase": "Bound",
                            "accessModes": found["spec"].get("accessModes"),
                            "capacity": capacity,
                        }
                        await self._node.client.patch(
                            PERSISTENT_VOLUME_CLAIM,
                            self.record.namespace,
                            name,
                            {"status": bound},
                            subresource="status",
                        )
                except ApiError as error:
                    raise ConfigurationError(f'persistentvolumeclaim "{name}": {error.message}') from error

    def _proxy_restarted(self) -> None:
        self._node.events.tell(
            self.pod, "ProxyRestarted", "The pod's proxy ended and was started again", warning=True
        )

    async def _publish_changes(self) -> None:
        wait = LEAST_WAIT
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if await self._publish():
                wait = LEAST_WAIT
                continue
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
            wait = min(wait * 2, MOST_WAIT)
            self._dirty.set()

    async def _publish(self) -> bool:
        """Whether the API knows the status as it is now, or has no such pod."""
        wanted = self._status()
        if wanted == self._published:
            return True
        try:
            # A test of the UID: a pod of the same name may have taken this one's place.
            patch = {"metadata": {"uid": self.record.uid}, "status": wanted}
            self.pod = await self._node.client.patch(
                POD, self.record.namespace, self.record.name, patch, subresource="status"
            )
        except ApiError as error:
            if error.code in {404, 409}:
                return True
            log.warning("%s/%s: status: %s", self.record.namespace, self.record.name, error.message)
            return False
        self._published = wanted
        return True

    def _status(self) -> dict[str, Any]:
        return status(
            self.pod,
            addresses=[str(address) for address in self.record.addresses],
            started_at=self._started_at,
            now=now(),
            network_ready=self._network_ready,
            init=[each.progress for each in self.init],
            main=[each.progress for each in self.main],
            message=self._message,
            failed=self._expired,
        )


def _ready_condition(pod: Object) -> str:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((str(each["status"]) for each in conditions if each["type"] == "Ready"), "")
