"""What a pod needs before its first program starts, and its undoing: network, sockets, identity, proxy, volumes."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hauberk.model.kind import Kind, Object
from hauberk.node.container_spec import SPIFFE_SOCKET
from hauberk.node.control_group import ControlGroups
from hauberk.node.driver import Driver
from hauberk.node.events import EventRecorder
from hauberk.node.network import Network, PodNetwork
from hauberk.node.network_policies import NetworkPolicies
from hauberk.node.pod_record import PodRecord
from hauberk.node.pod_socket import PodSocket
from hauberk.node.proxy import ProxyProcess, bootstrap
from hauberk.node.proxy_driver import ProxyDriver
from hauberk.node.settings import Settings
from hauberk.store.client import Client


class PodServices(Protocol):
    """What one pod is served under its own identity, at two Unix sockets of the node's own."""

    async def start(self, xds: Path, workload: Path) -> None: ...

    async def stop(self) -> None: ...


class NodeClient(Client, Protocol):
    """What a node asks of an API: `Client`, and tokens for its pods' accounts."""

    async def post(
        self, kind: Kind, namespace: str | None, name: str, subresource: str, obj: Object
    ) -> Object: ...


@dataclass(frozen=True, slots=True)
class Node:
    """All that a pod's worker is given."""

    settings: Settings
    client: NodeClient
    network: Network
    driver: Driver
    events: EventRecorder
    services: Callable[[PodRecord, Object], PodServices]
    control_groups: ControlGroups
    launcher: Path
    """`hauberk-sandbox`."""
    proxy: ProxyDriver
    policies: NetworkPolicies


class PodSetup:
    """Made or found again for one pod by `up`; nothing is left after `down`."""

    def __init__(
        self, node: Node, record: PodRecord, pod: Object, proxy_restarted: Callable[[], None]
    ) -> None:
        self._node = node
        self._record = record
        self._pod = pod
        self.run = node.settings.pod_run(record.uid)
        self.network: PodNetwork = node.network.of(
            record.uid, record.ip, record.gateway, proxy_uid=record.proxy_uid
        )
        # Only root may enter: what is in here, no captured proxy has written.
        behind = self.run / "node"
        self._mark = behind / "network"
        self._services = node.services(record, pod)
        self._sockets = [
            PodSocket(self.run / "xds.sock", self.network.gate, behind / "xds"),
            PodSocket(self.run / "spiffe" / SPIFFE_SOCKET, self.network.pod, behind / "workload"),
        ]
        self.proxy = ProxyProcess(
            record,
            self.network,
            self.run,
            launcher=node.launcher,
            driver=node.proxy,
            restarted=proxy_restarted,
        )

    def is_up(self) -> bool:
        """Whether the pod's network is there, from an agent before this one."""
        # RUN is gone after a reboot, as the namespaces are; the mark tells of a network made to its end.
        return self._mark.exists() and self.network.gate.exists() and self.network.pod.exists()

    async def up(self) -> None:
        """Returns when the proxy is ready. Raises `CommandError` or `OSError`; may be called again."""
        self.run.mkdir(parents=True, mode=0o711, exist_ok=True)
        for folder, mode in ((self.run / "node", 0o700), (self.run / "spiffe", 0o755)):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
        # Before its link is there: whatever had its address before left rules of its own.
        await self._node.policies.applied()
        if not self.is_up():
            await self._node.network.attach(self.network)
            self._mark.touch()
        await self._services.start(self.run / "node" / "xds", self.run / "node" / "workload")
        for socket in self._sockets:
            await socket.start()
        self._node.proxy.prepare(
            self.run, bootstrap(self._record, self._pod, self.run, self._node.settings.trust_domain)
        )
        self.proxy.start()
        await self.proxy.ready()

    async def abandon(self) -> None:
        """The agent leaves; proxy, namespaces and containers stay."""
        await self.proxy.abandon()
        await self._stop_serving()

    async def down(self) -> None:
        """Drains the proxy, then removes everything but the pod's state folder."""
        await self.proxy.stop()
        await self._stop_serving()
        await self._node.network.detach(self.network)
        self._node.control_groups.remove(self._record.uid)
        shutil.rmtree(self.run, ignore_errors=True)

    async def _stop_serving(self) -> None:
        for socket in self._sockets:
            await socket.stop()
        await self._services.stop()
