"""The node agent: registers the node, keeps one worker a pod bound to it, forgets what is gone."""

import asyncio
import logging
import shutil

from hauberk.model.kind import Object
from hauberk.model.kinds import POD
from hauberk.model.workload_name import workload_name
from hauberk.node import pod_record, pressure
from hauberk.node.heartbeat import Heartbeat
from hauberk.node.pod_record import NoAddressLeftError, PodRecord
from hauberk.node.pod_setup import Node, PodSetup
from hauberk.node.pod_worker import PodWorker
from hauberk.store.client import Event
from hauberk.store.informer import Informer

log = logging.getLogger(__name__)
ANNOUNCE_SECONDS = 5.0
RETRY_SECONDS = 5.0


class Agent:
    """All pods of one node. `pods` is by UID."""

    def __init__(self, node: Node, kubelet_port: int) -> None:
        self._node = node
        self._heartbeat = Heartbeat(
            node.settings, node.client, kubelet_port, lambda: pressure.of(node.settings.node_state)
        )
        self._records = pod_record.load(node.settings)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._informer = Informer(node.client, POD, field_selector=f"spec.nodeName={node.settings.name}")
        self.pods: dict[str, PodWorker] = {}

    async def run(self, ready: asyncio.Event) -> None:
        """Until cancelled; sets `ready` once the pods of this node are known and those that ran are found again."""
        await self._node.network.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._node.events.run())
            group.create_task(self._heartbeat.run())
            group.create_task(self._informer.run())
            await self._informer.synced.wait()
            await self._forget_unknown()
            await self._announce()
            self._informer.subscribe(self._see)
            # Not before all pods are known: those that it does not know would be cut off.
            group.create_task(self._node.policies.run())
            ready.set()
            try:
                await asyncio.Event().wait()
            finally:
                for task in self._tasks.values():
                    task.cancel()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The pod of that name, the one not being deleted if there are two."""
        found = [
            each
            for each in self.pods.values()
            if (each.record.namespace, each.record.name) == (namespace, name)
        ]
        return found[-1] if found else None

    def names(self, address: str) -> list[str]:
        """`NS/POD` and `NS/WORKLOAD` of the pod that has this address."""
        for worker in self.pods.values():
            if worker.record.address == address:
                namespace = worker.record.namespace
                return [f"{namespace}/{worker.record.name}", f"{namespace}/{workload_name(worker.pod)}"]
        return []

    def _see(self, event: Event) -> None:
        pod = event.object
        uid = pod["metadata"]["uid"]
        worker = self.pods.get(uid)
        if event.type == "DELETED":
            if worker is not None:
                worker.update(None)
            return
        if worker is None:
            worker = self._worker(uid, pod)
        else:
            worker.update(pod)
            self._node.policies.put(worker.record, pod)
        if worker is not None and uid not in self._tasks:
            self._begin(uid, worker)

    async def _announce(self) -> None:
        """What ran before is said to be ready before any proxy hears from the control plane again.

        Otherwise a node that was not heard of for a while would come back with proxies that know no endpoints.
        """
        known = [pod for pod in self._informer.cache.values() if pod["metadata"]["uid"] in self._records]
        workers = [self._worker(pod["metadata"]["uid"], pod) for pod in known]
        try:
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                await asyncio.gather(*(worker.announce() for worker in workers if worker is not None))
        except TimeoutError:
            log.warning("the API is slow to take the status of %d pods; going on", len(workers))

    def _worker(self, uid: str, pod: Object) -> PodWorker | None:
        try:
            record = self._records.get(uid) or pod_record.allocate(
                self._node.settings, pod, self._records.values()
            )
        except (NoAddressLeftError, OSError) as error:
            self._node.events.tell(pod, "FailedCreatePodSandBox", str(error), warning=True)
            log.error("%s/%s: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], error)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._look_again, uid)
            return None
        self._records[uid] = record
        self._node.policies.put(record, pod)
        worker = self.pods[uid] = PodWorker(self._node, record, pod)
        return worker

    def _look_again(self, uid: str) -> None:
        """At a pod that could not be taken in: there may be an address, or room on the disk, by now."""
        for pod in self._informer.cache.values():
            if pod["metadata"]["uid"] == uid and uid not in self.pods:
                self._see(Event("MODIFIED", pod))

    def _begin(self, uid: str, worker: PodWorker) -> None:
        record = worker.record
        task = self._tasks[uid] = asyncio.create_task(
            worker.run(), name=f"pod {record.namespace}/{record.name}"
        )
        task.add_done_callback(lambda done: self._finished(uid, done))

    def _finished(self, uid: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(uid, None)
        if task.cancelled():
            return
        record = self._records.pop(uid)
        self.pods.pop(uid)
        self._node.policies.drop(uid)
        if (error := task.exception()) is not None:
            log.error("%s/%s: %r", record.namespace, record.name, error, exc_info=error)

    async def _forget_unknown(self) -> None:
        """Pods that left the API while no agent was here: stopped as if deleted now, and what is left removed."""
        known = {pod["metadata"]["uid"] for pod in self._informer.cache.values()}
        for uid in set(self._records) - known:
            await remove_pod(self._node, self._records.pop(uid))
        for uid in self._node.network.uids() - known:
            await self._node.network.detach_unknown(uid)
        runs = self._node.settings.run / "pods"
        for entry in list(runs.iterdir()) if runs.is_dir() else []:
            if entry.name not in known:
                shutil.rmtree(entry, ignore_errors=True)


async def remove_pod(node: Node, record: PodRecord) -> None:
    """Stops a pod of which only the record is left, and removes everything of it."""
    containers = node.settings.pod_state(record.uid) / "containers"
    for folder in containers.glob("*/*"):
        await node.driver.signal(folder, 9)
    pod: Object = {
        "metadata": {"name": record.name, "namespace": record.namespace, "uid": record.uid},
        "spec": {},
    }
    await PodSetup(node, record, pod, lambda: None).down()
    shutil.rmtree(node.settings.pod_state(record.uid), ignore_errors=True)
