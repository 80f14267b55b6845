"""istiod under the load of `tests/bench/control_plane`: `python -m tests.conformance.istiod_push`.

The same services, endpoints, streams and changes, over a real kube-apiserver; the figures have the bench's own names.
The 20,000 pods are left out (they would be etcd's and the API server's to carry): endpoints have no identity, so that
istiod's clusters are without TLS, which is to its advantage. A change is counted from the API's answer to the write.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from tests.bench.control_plane.objects import CHANGED, NAMESPACES, objects, replaced
from tests.bench.process import resident_bytes
from tests.bench.spread import percentile

from hauberk.mesh.serialization import CLUSTER, ENDPOINT, LISTENER, ROUTE

sys.path.insert(0, str(Path(__file__).parent))

from conformance_testing.istiod import Istiod, istiod
from conformance_testing.kubernetes import TOKEN, Kubernetes, kubernetes

TOO_LATE = 120.0
SYNC_TOO_LATE = 600.0
AT_ONCE = 16
"""Writes under way at a time when the objects are made."""
PATHS = {"Service": "api/v1", "EndpointSlice": "apis/discovery.k8s.io/v1"}
PLURALS = {"Service": "services", "EndpointSlice": "endpointslices"}


class Api:
    """The kube-apiserver, by its own paths: kubectl would take minutes for so many objects."""

    def __init__(self, cluster: Kubernetes, session: aiohttp.ClientSession) -> None:
        configuration = json.loads(cluster.kubeconfig.read_text())
        self._server = configuration["clusters"][0]["cluster"]["server"]
        self._session = session

    async def create(self, one: dict[str, Any]) -> None:
        await self._send("POST", self._collection(one), one)

    async def replace(self, one: dict[str, Any]) -> None:
        await self._send("PUT", f"{self._collection(one)}/{one['metadata']['name']}", one)

    def _collection(self, one: dict[str, Any]) -> str:
        namespace = one["metadata"]["namespace"]
        return f"{self._server}/{PATHS[one['kind']]}/namespaces/{namespace}/{PLURALS[one['kind']]}"

    async def _send(self, method: str, url: str, one: dict[str, Any]) -> None:
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with self._session.request(method, url, json=one, headers=headers, ssl=False) as answer:
            assert answer.status in (200, 201), await answer.text()


class Client:
    """One proxy's delta stream: to all endpoints, or to those of ten services that never change."""

    def __init__(self, number: int, services: int) -> None:
        self.everything = number % 2 == 0
        self.heard: asyncio.Queue[float] = asyncio.Queue()
        self.synced = asyncio.Event()
        self.others = 0
        self.turned_away = 0
        namespace = f"n{number % NAMESPACES}"
        self._node = base_pb2.Node(
            id=f"sidecar~10.68.{number // 250}.{number % 250 + 1}~p{number}.{namespace}~{namespace}.svc.cluster.local"
        )
        self._node.metadata.update(
            {"NAMESPACE": namespace, "ISTIO_VERSION": "1.31.0", "CLUSTER_ID": "Kubernetes"}
        )
        self._chosen = range(services) if self.everything else range(10, 20)

    async def run(self, channel: Any) -> None:
        """Begins again, as a proxy does, until the first answers are there: istiod turns away who comes in a crowd."""
        while True:
            try:
                await self._converse(channel)
            except grpc.aio.AioRpcError:
                if self.synced.is_set():
                    raise
                self.turned_away += 1
                await asyncio.sleep(1)

    async def _converse(self, channel: Any) -> None:
        stream = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        names = [f"outbound|80||s{one}.n{one % NAMESPACES}.svc.cluster.local" for one in self._chosen]
        for type_url, wanted in ((CLUSTER, []), (ENDPOINT, names), (LISTENER, []), (ROUTE, ["80"])):
            await stream.write(
                discovery_pb2.DeltaDiscoveryRequest(
                    node=self._node, type_url=type_url, resource_names_subscribe=wanted
                )
            )
        missing = {CLUSTER, ENDPOINT, LISTENER, ROUTE}
        async for response in stream:
            now = time.monotonic()
            await stream.write(
                discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            )
            if self.synced.is_set():
                named = [one.name for one in response.resources]
                if response.type_url == ENDPOINT and any(f"s{CHANGED}." in name for name in named):
                    self.heard.put_nowait(now)
                else:
                    self.others += 1
            missing.discard(response.type_url)
            if not missing:
                self.synced.set()


async def measure(services: int, streams: int, rounds: int) -> dict[str, tuple[float, str]]:
    with tempfile.TemporaryDirectory(prefix="hbk-", dir="/tmp") as name:
        folder = Path(name)
        async with kubernetes(folder) as cluster, aiohttp.ClientSession() as session:
            api = Api(cluster, session)
            await _create(cluster, api, services)
            async with istiod(cluster, folder) as plane:
                return await _measure(plane, api, services, streams, rounds)


async def _create(cluster: Kubernetes, api: Api, services: int) -> None:
    await cluster.apply(
        *(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n{number}"}}
            for number in range(NAMESPACES)
        )
    )
    gate = asyncio.Semaphore(AT_ONCE)

    async def create(one: dict[str, Any]) -> None:
        async with gate:
            await api.create(one)

    made = [_admitted(one) for one in objects(services) if one["kind"] in PATHS]
    await asyncio.gather(*map(create, made))


def _admitted(one: dict[str, Any]) -> dict[str, Any]:
    """As a real API server takes it: it gives addresses to Services, and a slice says its family and who is ready."""
    if one["kind"] == "Service":
        return {**one, "spec": {key: value for key, value in one["spec"].items() if key != "clusterIP"}}
    endpoints = [{**each, "conditions": {"ready": True}} for each in one["endpoints"]]
    return {**one, "addressType": "IPv4", "endpoints": endpoints}


async def _measure(
    plane: Istiod, api: Api, services: int, streams: int, rounds: int
) -> dict[str, tuple[float, str]]:
    clients = [Client(number, services) for number in range(streams)]
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    idle, began = usage(plane.process.pid), time.monotonic()
    tasks = []
    for client in clients:
        channel = grpc.aio.insecure_channel(plane.plain_target, options=options)
        tasks.append(asyncio.create_task(client.run(channel)))
    synced_all = asyncio.gather(*(client.synced.wait() for client in clients))
    async with asyncio.timeout(SYNC_TOO_LATE):
        # A stream that breaks ends its task, and nobody would wait for it in vain.
        await asyncio.wait([synced_all, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()
    first_sync, synced = time.monotonic() - began, usage(plane.process.pid)
    wanting = [client for client in clients if client.everything]
    latencies: list[float] = []
    before = synced
    for change in range(rounds + 1):
        await api.replace(_admitted(replaced(change)))
        written = time.monotonic()
        async with asyncio.timeout(TOO_LATE):
            heard = [await client.heard.get() - written for client in wanting]
        if change == 0:
            before = usage(plane.process.pid)
        else:
            latencies += heard
    after = usage(plane.process.pid)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "push_one_endpoint": (percentile(latencies, 0.99) * 1000, "ms, p99"),
        "push_one_endpoint_p50": (percentile(latencies, 0.5) * 1000, "ms"),
        "push_one_endpoint_cpu": ((after[0] - before[0]) / rounds * 1000, "CPU ms/push"),
        "push_one_endpoint_memory": (after[1] / 1e6, "MB"),
        "push_one_endpoint_first_sync": (first_sync, "s, all streams"),
        "push_one_endpoint_first_sync_cpu": (synced[0] - idle[0], "CPU s"),
        "push_one_endpoint_turned_away": (float(sum(client.turned_away for client in clients)), "streams"),
        "push_one_endpoint_unwanted": (float(sum(client.others for client in clients)), "responses"),
    }


def usage(pid: int) -> tuple[float, int]:
    """CPU seconds and resident bytes of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks, resident_bytes(
        Path(f"/proc/{pid}/status").read_text()
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.istiod_push", description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    found = asyncio.run(measure(options.services, options.streams, options.rounds))
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
