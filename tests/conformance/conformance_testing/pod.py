"""A pod of a real Kubernetes as a node would run it: its gate, our proxy under istiod, its program."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import grpc
from cryptography import x509
from envoy.service.secret.v3 import sds_pb2_grpc

from conformance_testing.istiod import IstioCa, Istiod
from conformance_testing.process import eventually, program
from hauberk import binaries
from hauberk.identity.bundle import TrustBundle, TrustBundles
from hauberk.identity.sds import SecretDiscovery
from hauberk.identity.spiffe_id import TrustDomain
from hauberk.identity.svid import SvidSource
from hauberk.identity.watched import Watched
from hauberk.node import policy_rules
from hauberk.node.network import Network, PodNetwork
from hauberk.node.network_policy import Isolation
from hauberk.node.relay import OPTIONS, DiscoveryRelay
from hauberk.node.rules import UPSTREAM_MARK

TRUST_DOMAIN = "cluster.local"
ISTIO_VERSION = "1.31.0"
FIRST_PROXY_USER = 1_500_000_000
UPSTREAM_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Pod:
    """One of the cluster's pods, running here."""

    name: str
    namespace: str
    network: PodNetwork
    folder: Path

    async def run(self, *command: str, seconds: float = 20) -> tuple[int, str]:
        """Exit code and output of a program in the pod."""
        process = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", self.network.pod.name, *command,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def call(self, url: str, *arguments: str) -> tuple[str, str]:
        """Status and body of one request from the pod; 000 if there was no answer."""
        _, output = await self.run("curl", "-s", "-m", "10", "-w", "\n%{http_code}", url, *arguments)
        body, _, status = output.rpartition("\n")
        return status, body

    async def admin(self, path: str) -> str:
        """A page of its proxy's admin interface."""
        connector = aiohttp.UnixConnector(path=str(self.folder / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://proxy{path}") as response,
        ):
            return await response.text()

    def refused(self) -> list[str]:
        """What its proxy has refused since it started, and why."""
        lines = (self.folder / "proxy.log").read_text().splitlines()
        return [line for line in lines if "refused what the control plane sent" in line]

    async def is_ready(self) -> bool:
        try:
            return "LIVE" in await self.admin("/ready")
        except (OSError, aiohttp.ClientError):
            return False


class Pods:
    """The pods of one test, on one fabric."""

    def __init__(self, istiod: Istiod, folder: Path, stack: AsyncExitStack) -> None:
        self._istiod = istiod
        self._folder = folder
        self._stack = stack
        self._network = Network(f"c{secrets.token_hex(3)}", IPv4Address("10.66.0.1"))
        self._isolation: dict[IPv4Address, Isolation] = {}
        self._last = 1

    async def start(
        self,
        name: str,
        namespace: str = "default",
        *,
        account: str,
        labels: dict[str, str],
        command: Sequence[str] = (),
        ports: Sequence[int] = (),
        service: str | None = None,
        service_ports: dict[str, int] | None = None,
        gateway: bool = False,
    ) -> Pod:
        """Makes the pod an object and runs it; its proxy is ready when this returns.

        `service_ports` are those of the EndpointSlice of `service`, which a controller would write.
        """
        self._last += 1
        if not gateway:
            # As Istio's injector labels a pod that has a proxy.
            labels = {**labels, "security.istio.io/tlsMode": "istio"}
        address = IPv4Address("10.66.0.0") + self._last
        uid = await self._object(name, namespace, account, labels, str(address), ports)
        if service is not None:
            await self._endpoint(service, namespace, name, str(address), service_ports or {})
        network = self._network.of(uid, address, gateway, proxy_uid=FIRST_PROXY_USER + self._last)
        await self._network.attach(network)
        self._stack.push_async_callback(self._network.detach, network)
        # No NetworkPolicy selects any of them.
        self._isolation[address] = Isolation()
        await self._network.put_policies(policy_rules.table(self._isolation))
        folder = self._folder / name
        folder.mkdir()
        pod = Pod(name, namespace, network, folder)
        await self._serve_identity(pod, uid, account)
        self._write_bootstrap(pod, account, labels)
        if command:
            await self._stack.enter_async_context(
                program(["ip", "netns", "exec", network.pod.name, *command], folder / "program.log")
            )
        await self._start_proxy(pod)
        return pod

    async def open(self) -> None:
        """Makes the fabric."""
        await self._network.start()
        self._stack.push_async_callback(self._network.remove)

    async def _object(
        self,
        name: str,
        namespace: str,
        account: str,
        labels: dict[str, str],
        address: str,
        ports: Sequence[int],
    ) -> str:
        cluster = self._istiod.kubernetes
        await cluster.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}},
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "serviceAccountName": account,
                    "nodeName": "node",
                    "containers": [
                        {
                            "name": "program",
                            "image": "host",
                            "ports": [{"containerPort": port} for port in ports],
                        }
                    ],
                },
            },
            namespace=namespace,
        )
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": now}
            for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
        ]
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": "10.66.0.1",
            "startTime": now,
            "conditions": conditions,
        }
        await cluster.set_status("pod", namespace, name, status)
        pod = await cluster.get("pod", name, "-n", namespace)
        uid: str = pod["metadata"]["uid"]
        return uid

    async def _endpoint(
        self, service: str, namespace: str, pod: str, address: str, ports: dict[str, int]
    ) -> None:
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{service}-{pod}", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": [
                {
                    "addresses": [address],
                    "conditions": {"ready": True},
                    "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace},
                }
            ],
            "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in ports.items()],
        }
        await self._istiod.kubernetes.apply(slice_, namespace=namespace)

    async def _serve_identity(self, pod: Pod, uid: str, account: str) -> None:
        """What Istio's agent is to an Envoy: keys from istiod's CA by SDS, and ADS passed on under them."""
        root = await self._istiod.root_certificate(pod.namespace)
        token = await self._istiod.kubernetes.kubectl(
            "create", "token", account, "-n", pod.namespace, "--audience=istio-ca",
            "--bound-object-kind=Pod", f"--bound-object-name={pod.name}",
        )  # fmt: skip
        domain = TrustDomain(TRUST_DOMAIN)
        bundle = TrustBundle(domain, (x509.load_pem_x509_certificate(root),))
        channel = grpc.aio.secure_channel(
            self._istiod.target, grpc.ssl_channel_credentials(root_certificates=root), options=OPTIONS
        )
        self._stack.push_async_callback(channel.close)
        source = SvidSource(
            IstioCa(channel, token.strip()),
            domain.workload(pod.namespace, account),
            uid,
            Watched(TrustBundles(bundle, ())),
            lambda: datetime.now(UTC),
        )
        task = asyncio.create_task(source.run())
        self._stack.callback(task.cancel)
        relay = DiscoveryRelay(self._istiod.target, root, source)
        self._stack.push_async_callback(relay.close)
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((relay,))
        sds_pb2_grpc.add_SecretDiscoveryServiceServicer_to_server(SecretDiscovery(source), server)
        socket = pod.folder / "xds.sock"
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        self._stack.push_async_callback(server.stop, 0)
        socket.chmod(0o666)

    def _write_bootstrap(self, pod: Pod, account: str, labels: dict[str, str]) -> None:
        """As our node writes it, with what istiod asks of a proxy's metadata beside it."""
        address, uid = str(pod.network.address), pod.network.proxy_uid
        kind = "router" if pod.network.gateway else "sidecar"
        os.chown(pod.folder, uid, uid)
        (pod.folder / "bootstrap.json").write_text(
            json.dumps(
                {
                    "node": {
                        "id": f"{kind}~{address}~{pod.name}.{pod.namespace}~{pod.namespace}.svc.{TRUST_DOMAIN}",
                        "cluster": f"{labels.get('app', pod.name)}.{pod.namespace}",
                        "metadata": {
                            "NAMESPACE": pod.namespace,
                            "NAME": pod.name,
                            "SERVICE_ACCOUNT": account,
                            "WORKLOAD_NAME": labels.get("app", pod.name),
                            "INSTANCE_IPS": address,
                            "LABELS": labels,
                            "ISTIO_VERSION": ISTIO_VERSION,
                            "CLUSTER_ID": "Kubernetes",
                            "MESH_ID": TRUST_DOMAIN,
                            "INTERCEPTION_MODE": "TPROXY",
                        },
                    },
                    "xds": str(pod.folder / "xds.sock"),
                    "admin": str(pod.folder / "admin.sock"),
                    "records": str(pod.folder / "records.log"),
                    "access_log": str(pod.folder / "access.log"),
                    "source_address": address,
                    "upstream_mark": UPSTREAM_MARK,
                }
            )
        )

    async def _start_proxy(self, pod: Pod) -> None:
        command: list[str | Path] = [
            binaries.find("hauberk-sandbox"), "proxy", "--netns", pod.network.gate,
            "--directory", pod.folder, "--uid", str(pod.network.proxy_uid), "--",
            binaries.find("hauberk-proxy"), "--bootstrap", pod.folder / "bootstrap.json",
        ]  # fmt: skip
        await self._stack.enter_async_context(program(command, pod.folder / "proxy.log"))
        await eventually(pod.is_ready, UPSTREAM_SECONDS, f"the proxy of {pod.name} is ready; {pod.folder}")


@asynccontextmanager
async def pods(istiod: Istiod, folder: Path) -> AsyncIterator[Pods]:
    """Pods that are gone at the end, in the opposite order."""
    async with AsyncExitStack() as stack:
        found = Pods(istiod, folder, stack)
        await found.open()
        yield found
