"""Streams of simulated proxies, and what they hear when pods of one service are replaced.

Half of the streams subscribe to all endpoints, half to ten services that never change.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from tests.bench.control_plane.objects import NAMESPACES
from tests.bench.spread import percentile

from hauberk.mesh.serialization import CLUSTER, ENDPOINT, LISTENER, ROUTE

TOO_LATE = 60.0
"""Seconds after which a change that was not heard of is an error."""
ROLLING_PERIOD = 60 / 200
"""Seconds between two replaced pods of a deployment that rolls by 200 a minute."""

Figures = dict[str, tuple[float, str]]


class Client:
    """One proxy's stream. `heard` counts responses after the first full answers."""

    def __init__(self, number: int, everything: bool, services: int) -> None:
        self.everything = everything
        self.heard: asyncio.Queue[float] = asyncio.Queue()
        self.wrong = 0
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._services = services
        self._node = base_pb2.Node(
            id=f"sidecar~10.68.0.1~p{number}.n{number % NAMESPACES}~n{number % NAMESPACES}.svc.cluster.local"
        )
        self.counts: dict[str, int] = {}
        self.synced = asyncio.Event()

    async def run(self, channel: Any) -> None:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
        stream = stub.DeltaAggregatedResources()
        chosen = range(self._services) if self.everything else range(10, 20)
        names = [f"outbound|80||s{one}.n{one % NAMESPACES}.svc.cluster.local" for one in chosen]
        routes = [f"s{one}.n{one % NAMESPACES}.svc.cluster.local:80" for one in chosen]
        expected = {
            CLUSTER: self._services + 2,
            LISTENER: self._services + 3,
            ENDPOINT: len(names),
            ROUTE: len(routes),
        }
        for type_url, subscribe in ((CLUSTER, []), (ENDPOINT, names), (LISTENER, []), (ROUTE, routes)):
            await stream.write(
                discovery_pb2.DeltaDiscoveryRequest(
                    node=self._node, type_url=type_url, resource_names_subscribe=subscribe
                )
            )
        async for response in stream:
            now = time.monotonic()
            await stream.write(
                discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            )
            if self.synced.is_set():
                if response.type_url != ENDPOINT or not self.everything or len(response.resources) != 1:
                    self.wrong += 1
                self.heard.put_nowait(now)
                continue
            self.counts[response.type_url] = self.counts.get(response.type_url, 0) + len(response.resources)
            if all(self.counts.get(one, 0) >= count for one, count in expected.items()):
                self.synced.set()


class Simulation:
    """A control plane's process and its synchronised streams."""

    def __init__(self, process: asyncio.subprocess.Process, clients: list[Client]) -> None:
        self.clients = clients
        self.first_sync = 0.0
        self.start_cpu = 0.0
        self._wanting = [client for client in clients if client.everything]
        self._process = process

    async def ask(self, word: str) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{word}\n".encode())
        answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer

    async def replace_a_pod(self) -> list[float]:
        """Seconds until each stream that wants it has heard."""
        began = (await self.ask("change"))["began"]
        async with asyncio.timeout(TOO_LATE):
            return [await client.heard.get() - began for client in self._wanting]

    @property
    def unwanted(self) -> int:
        """Whatever came to a stream that does not want it, or came twice, or held more than the one service."""
        return sum(client.wrong + client.heard.qsize() for client in self.clients)


@asynccontextmanager
async def simulation(services: int, streams: int) -> AsyncIterator[Simulation]:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/xds.sock"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.control_plane.process", path, str(services),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin and process.stdout
        tasks: list[asyncio.Task[None]] = []
        try:
            ready = json.loads(await process.stdout.readline())
            clients = [Client(number, number % 2 == 0, services) for number in range(streams)]
            options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
            began = time.monotonic()
            for client in clients:
                channel = grpc.aio.insecure_channel(f"unix:{path}", options=options)
                tasks.append(asyncio.create_task(client.run(channel)))
            await asyncio.gather(*(client.synced.wait() for client in clients))
            found = Simulation(process, clients)
            found.first_sync, found.start_cpu = time.monotonic() - began, ready["cpu"]
            await found.replace_a_pod()
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            process.stdin.close()
            await process.wait()


async def push_one_endpoint(services: int, streams: int, rounds: int) -> Figures:
    """One change after the other, each heard by all before the next."""
    async with simulation(services, streams) as mesh:
        before = await mesh.ask("usage")
        latencies = [latency for _ in range(rounds) for latency in await mesh.replace_a_pod()]
        after = await mesh.ask("usage")
        return {
            "push_one_endpoint": (percentile(latencies, 0.99) * 1000, "ms, p99"),
            "push_one_endpoint_p50": (percentile(latencies, 0.5) * 1000, "ms"),
            "push_one_endpoint_cpu": ((after["cpu"] - before["cpu"]) / rounds * 1000, "CPU ms/push"),
            "push_one_endpoint_memory": (after["rss"] / 1e6, "MB"),
            "push_one_endpoint_first_sync": (mesh.first_sync, "s, all streams"),
            "push_one_endpoint_unwanted": (mesh.unwanted, "responses"),
        }


async def rolling_deployment(services: int, streams: int, rounds: int) -> Figures:
    """A pod is replaced every 0.3 s, whether or not everybody has heard of the one before."""
    async with simulation(services, streams) as mesh:
        before = await mesh.ask("usage")
        began, latencies = time.monotonic(), []
        for number in range(rounds):
            await asyncio.sleep(max(0.0, began + number * ROLLING_PERIOD - time.monotonic()))
            latencies.append(await mesh.replace_a_pod())
        seconds = time.monotonic() - began
        after = await mesh.ask("usage")
        late = [latency for heard in latencies[-max(1, rounds // 4) :] for latency in heard]
        return {
            "rolling_deployment": (rounds / seconds * 60, "pods/min of 200"),
            "rolling_deployment_last_quarter": (percentile(late, 0.99) * 1000, "ms, p99"),
            "rolling_deployment_cpu": ((after["cpu"] - before["cpu"]) / seconds, "CPU s/s"),
        }


async def curve_point(services: int, streams: int, rounds: int) -> Figures:
    """One point of the cost curve."""
    async with simulation(services, streams) as mesh:
        before = await mesh.ask("usage")
        for _ in range(rounds):
            await mesh.replace_a_pod()
        after = await mesh.ask("usage")
        return {
            "push": ((after["cpu"] - before["cpu"]) / rounds * 1000, "CPU ms"),
            "start": (mesh.start_cpu, "CPU s"),
            "memory": (after["rss"] / 1e6, "MB"),
        }


SHAPES = {"push": push_one_endpoint, "rolling": rolling_deployment, "curve": curve_point}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.control_plane.load", description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    figures = asyncio.run(SHAPES[options.shape](options.services, options.streams, options.rounds))
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
