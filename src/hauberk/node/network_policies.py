"""NetworkPolicies kept in the fabric: what is allowed follows from the objects, and each change is put in whole."""

import asyncio
import logging
from collections.abc import Mapping

import msgspec

from hauberk.model.kind import Object
from hauberk.model.kinds import NAMESPACE, NETWORK_POLICY
from hauberk.model.kubernetes.networking import NetworkPolicy
from hauberk.model.struct import parse
from hauberk.node import network_policy, policy_rules
from hauberk.node.command import CommandError
from hauberk.node.network import Network
from hauberk.node.network_policy import Address, Isolation, Member
from hauberk.node.pod_record import PodRecord
from hauberk.node.severing import sever
from hauberk.store.client import Client, Event
from hauberk.store.informer import Informer

log = logging.getLogger(__name__)
RETRY_SECONDS = 1.0


class NetworkPolicies:
    """The fabric's policy table. A pod that it does not know can neither call nor be called."""

    def __init__(self, client: Client, network: Network) -> None:
        self._network = network
        self._policies = Informer(client, NETWORK_POLICY)
        self._namespaces = Informer(client, NAMESPACE)
        self._members: dict[str, tuple[PodRecord, Member]] = {}
        self._isolations: Mapping[Address, Isolation] = {}
        self._table = ""
        self._changed = asyncio.Event()
        self._wanted = 0
        self._done = 0
        self._applied = asyncio.Condition()

    def put(self, record: PodRecord, pod: Object) -> None:
        """A pod of the fabric, new or changed."""
        member = member_of(record, pod)
        if self._members.get(record.uid) != (record, member):
            self._members[record.uid] = (record, member)
            self._look()

    def drop(self, uid: str) -> None:
        """A pod that is gone, its link too."""
        if self._members.pop(uid, None) is not None:
            self._look()

    async def applied(self) -> None:
        """Returns when the fabric's rules know everything that was told until now."""
        wanted = self._wanted
        async with self._applied:
            await self._applied.wait_for(lambda: self._done >= wanted)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in (self._policies, self._namespaces):
                group.create_task(informer.run())
            for informer in (self._policies, self._namespaces):
                await informer.synced.wait()
                informer.subscribe(self._see)
            self._look()
            while True:
                await self._changed.wait()
                self._changed.clear()
                try:
                    await self._apply()
                except (CommandError, OSError) as error:
                    log.error("network policies: %s; trying again in %g s", error, RETRY_SECONDS)
                    await asyncio.sleep(RETRY_SECONDS)
                    self._changed.set()

    def _see(self, _event: Event) -> None:
        self._look()

    def _look(self) -> None:
        self._wanted += 1
        self._changed.set()

    async def _apply(self) -> None:
        wanted = self._wanted
        isolations = self._isolate()
        table = policy_rules.table(isolations)
        if table != self._table:
            await self._network.put_policies(table)
            before, self._isolations, self._table = self._isolations, isolations, table
            await sever(self._network, [record for record, _ in self._members.values()], before, isolations)
        async with self._applied:
            self._done = wanted
            self._applied.notify_all()

    def _isolate(self) -> dict[Address, Isolation]:
        members = [member for _, member in self._members.values()]
        namespaces = {
            obj["metadata"]["name"]: obj["metadata"].get("labels") or {}
            for obj in self._namespaces.cache.values()
        }
        isolations = network_policy.isolate(self._parsed(), members, namespaces)
        return {
            address: isolation
            for member, isolation in zip(members, isolations, strict=True)
            for address in member.addresses
        }

    def _parsed(self) -> list[NetworkPolicy]:
        found = []
        for (namespace, name), obj in sorted(self._policies.cache.items()):
            try:
                found.append(parse(NetworkPolicy, obj))
            except msgspec.ValidationError as error:
                # Admission lets no such object in: it is from before a kind's shape was what it is now.
                log.error("networkpolicy %s/%s has no effect: %s", namespace, name, error)
        return found


def member_of(record: PodRecord, pod: Object) -> Member:
    """The pod as policies see it."""
    spec = pod.get("spec") or {}
    return Member(
        namespace=record.namespace,
        name=record.name,
        labels=pod["metadata"].get("labels") or {},
        addresses=record.addresses,
        ports={
            (port.get("protocol") or "TCP", port["name"]): port["containerPort"]
            for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
            for port in container.get("ports") or ()
            if port.get("name")
        },
    )
