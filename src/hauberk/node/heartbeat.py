"""How the control plane knows that this node lives: a Lease, renewed all the time, and a status, when it changes."""

import asyncio
import logging
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from hauberk.model.kind import Object
from hauberk.model.kinds import LEASE, NODE
from hauberk.node.events import now
from hauberk.node.pod_record import MOST_PODS
from hauberk.node.pressure import Pressure
from hauberk.node.settings import Settings
from hauberk.store.client import ApiError, Client

log = logging.getLogger(__name__)
LEASES = "kube-node-lease"
RENEWALS = 4
"""Attempts to renew the Lease within the time that it holds."""
HEARTBEAT_SECONDS = 300.0
"""A status in which nothing is new is written no more often than this."""


class Heartbeat:
    """`pressure` says what the machine is short of; the node's conditions follow it."""

    def __init__(
        self, settings: Settings, client: Client, kubelet_port: int, pressure: Callable[[], Pressure]
    ) -> None:
        self._settings = settings
        self._client = client
        self._port = kubelet_port
        self._pressure = pressure
        self._reported_at = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for step in (self._renew, self._report):
                try:
                    await step()
                except ApiError as error:
                    log.warning("node %s: %s", self._settings.name, error.message)
            await asyncio.sleep(self._settings.lease_seconds / RENEWALS)

    async def _renew(self) -> None:
        name = self._settings.name
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": self._settings.lease_seconds,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            await self._client.patch(LEASE, LEASES, name, {"spec": spec})
        except ApiError as error:
            if error.code != 404:
                raise
            metadata = {"name": name, "namespace": LEASES}
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": metadata,
                "spec": spec,
            }
            await self._client.create(LEASE, lease)

    async def _report(self) -> None:
        name, moment = self._settings.name, asyncio.get_running_loop().time()
        try:
            node = await self._client.get(NODE, None, name)
        except ApiError as error:
            if error.code != 404:
                raise
            node = await self._client.create(NODE, self._node())
        status = self._status((node.get("status") or {}).get("conditions") or [])
        due = moment - self._reported_at >= HEARTBEAT_SECONDS or not self._reported_at
        if due or _differs(status, node.get("status") or {}):
            await self._client.patch(NODE, None, name, {"status": status}, subresource="status")
            self._reported_at = moment

    def _node(self) -> Object:
        cidr = str(self._settings.pod_cidr)
        labels = {"kubernetes.io/hostname": self._settings.name, "kubernetes.io/os": "linux"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self._settings.name, "labels": labels},
            "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        }

    def _status(self, before: list[dict[str, Any]]) -> dict[str, Any]:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
        capacity = {"cpu": str(os.cpu_count() or 1), "memory": f"{pages}Ki", "pods": str(MOST_PODS)}
        return {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": self._conditions({each["type"]: each for each in before}),
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": platform.node()},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "nodeInfo": {
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kernelVersion": platform.release(),
                "osImage": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
                "containerRuntimeVersion": "hauberk-sandbox://0.1.0",
                "kubeletVersion": "v1.32.0-hauberk",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(
                    platform.machine(), platform.machine()
                ),
            },
        }

    def _conditions(self, before: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """With the reasons that a kubelet gives."""
        moment, pressure = now(), self._pressure()
        disk = "KubeletHasDiskPressure" if pressure.disk else "KubeletHasNoDiskPressure"
        wanted = [
            ("MemoryPressure", False, "KubeletHasSufficientMemory", "memory is sufficient"),
            ("DiskPressure", bool(pressure.disk), disk, pressure.disk or "disk is sufficient"),
            ("PIDPressure", False, "KubeletHasSufficientPID", "process ids are sufficient"),
            ("Ready", True, "KubeletReady", "hauberk-node runs pods"),
        ]
        result = []
        for kind, true, reason, message in wanted:
            old, status = before.get(kind) or {}, "True" if true else "False"
            since = old.get("lastTransitionTime") if old.get("status") == status else None
            result.append(
                {
                    "type": kind,
                    "status": status,
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": moment,
                    "lastTransitionTime": since or moment,
                }
            )
        return result


def _differs(status: Object, found: Object) -> bool:
    """Whether anything in `status` is new but the time at which it is said."""
    return any(_timeless(value) != _timeless(found.get(key)) for key, value in status.items())


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(each) for each in value]
    if isinstance(value, dict):
        return {key: each for key, each in value.items() if key != "lastHeartbeatTime"}
    return value
