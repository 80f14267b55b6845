"""One endpoint of one service changes: who hears of it, how soon, and at what cost to the control plane.

1,000 services with 20 endpoints each in 10 namespaces; 200 delta streams over real gRPC, of which half subscribe to all
endpoints and half to ten services that never change. Prints `{name: [value, unit]}`.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from tests.bench.process import resident_bytes
from tests.bench.spread import percentile

from hauberk.mesh.ads import Discovery
from hauberk.mesh.proxy import proxy_from_metadata
from hauberk.mesh.registry import Registry
from hauberk.mesh.serialization import CLUSTER, ENDPOINT, LISTENER, ROUTE

NAMESPACES = 10
PER_SERVICE = 20
CHANGED = 7
REPLACEMENTS = 200


def objects(services: int) -> list[dict[str, Any]]:
    """Services, their slices and the pods behind them."""
    made: list[dict[str, Any]] = []
    for number in range(services):
        namespace = f"n{number % NAMESPACES}"
        labels = {"app": f"s{number}"}
        made.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": f"s{number}", "namespace": namespace},
                "spec": {
                    "clusterIP": f"10.96.{number // 250}.{number % 250 + 1}",
                    "selector": labels,
                    "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
                },
            }
        )
        addresses = [f"10.66.{number // 12}.{number % 12 * 20 + index + 1}" for index in range(PER_SERVICE)]
        made.append(endpoint_slice(number, addresses))
        made += [pod(number, address) for address in addresses]
    return made + [pod(CHANGED, f"10.67.0.{index + 1}") for index in range(REPLACEMENTS)]


def pod(number: int, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"s{number}-{address}",
            "namespace": f"n{number % NAMESPACES}",
            "labels": {"app": f"s{number}"},
        },
        "spec": {"serviceAccountName": f"s{number}", "containers": []},
        "status": {"podIP": address},
    }


def endpoint_slice(number: int, addresses: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"s{number}-1",
            "namespace": f"n{number % NAMESPACES}",
            "labels": {"kubernetes.io/service-name": f"s{number}"},
        },
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address]} for address in addresses],
    }


async def serve(path: str, services: int) -> None:
    """The control plane's process: one line `change` on standard input, one answer on standard output."""
    registry = Registry().update(objects(services))
    discovery = Discovery(registry, lambda _context, node: proxy_from_metadata(node))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((discovery.handler(),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    tell(ready=True)
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    changes = 0
    while line := (await lines.get()).strip():
        if line == "change":
            changes += 1
            present = [f"10.67.0.{(changes + index) % REPLACEMENTS + 1}" for index in range(PER_SERVICE)]
            registry = registry.update([endpoint_slice(CHANGED, present)])
            began = time.monotonic()
            discovery.publish(registry)
            tell(began=began)
        else:
            tell(**usage())
    await server.stop(grace=None)


def usage() -> dict[str, float]:
    """CPU seconds and resident bytes of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    rss = resident_bytes(Path("/proc/self/status").read_text())
    return {"cpu": used.ru_utime + used.ru_stime, "rss": rss}


def tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


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


async def measure(services: int, streams: int, rounds: int) -> dict[str, tuple[float, str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/xds.sock"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.push_one_endpoint", "--serve", path, "--services", str(services),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin and process.stdout
        orders, answers = process.stdin, process.stdout

        async def ask(word: str) -> dict[str, Any]:
            orders.write(f"{word}\n".encode())
            answer: dict[str, Any] = json.loads(await answers.readline())
            return answer

        try:
            json.loads(await process.stdout.readline())
            clients = [Client(number, number % 2 == 0, services) for number in range(streams)]
            channels = [
                grpc.aio.insecure_channel(
                    f"unix:{path}",
                    options=[
                        ("grpc.max_receive_message_length", -1),
                        ("grpc.use_local_subchannel_pool", 1),
                    ],
                )
                for _ in clients
            ]
            began = time.monotonic()
            tasks = [
                asyncio.create_task(client.run(channel))
                for client, channel in zip(clients, channels, strict=True)
            ]
            await asyncio.gather(*(client.synced.wait() for client in clients))
            first_sync = time.monotonic() - began
            wanting = [client for client in clients if client.everything]
            await ask("change")
            for client in wanting:
                await client.heard.get()
            before = await ask("usage")
            latencies = []
            for _ in range(rounds):
                started = (await ask("change"))["began"]
                for client in wanting:
                    latencies.append(await asyncio.wait_for(client.heard.get(), 20) - started)
            after = await ask("usage")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Whatever came to a stream that does not want it, or came twice, or held more than the one service.
            unwanted = sum(client.wrong + client.heard.qsize() for client in clients)
            return {
                "push_one_endpoint": (percentile(latencies, 0.99) * 1000, "ms, p99"),
                "push_one_endpoint_p50": (percentile(latencies, 0.5) * 1000, "ms"),
                "push_one_endpoint_cpu": ((after["cpu"] - before["cpu"]) / rounds * 1000, "CPU ms/push"),
                "push_one_endpoint_memory": (after["rss"] / 1e6, "MB"),
                "push_one_endpoint_first_sync": (first_sync, "s, all streams"),
                "push_one_endpoint_unwanted": (unwanted, "responses"),
            }
        finally:
            process.stdin.close()
            await process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.services))
        return
    figures = asyncio.run(measure(options.services, options.streams, options.rounds))
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
