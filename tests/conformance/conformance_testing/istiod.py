"""A real istiod over a real kube-apiserver, and what an agent asks it for: a certificate, and its trust bundle."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import yaml
from cryptography import x509

from conformance_testing.built import FOLDER, built
from conformance_testing.kubernetes import Kubernetes
from conformance_testing.process import answers, eventually, free_ports, program
from hauberk.identity.protocol import istio_ca_pb2, istio_ca_pb2_grpc
from hauberk.identity.spiffe_id import SpiffeId
from hauberk.identity.svid import IssuanceError

NAMESPACE = "istio-system"
SECONDS_TO_START = 120
ROOT_CERTIFICATE = "istio-ca-root-cert"
"""The ConfigMap that istiod keeps in every namespace."""


@dataclass(frozen=True, slots=True)
class Istiod:
    """A running istiod. `target` is its gRPC port with TLS, for the CA and for ADS, `plain_target` that without."""

    kubernetes: Kubernetes
    target: str
    plain_target: str
    _http: str
    process: asyncio.subprocess.Process

    async def root_certificate(self, namespace: str) -> bytes:
        """PEM, from the ConfigMap that every pod of a namespace mounts."""
        configuration = await self.kubernetes.get("configmap", ROOT_CERTIFICATE, "-n", namespace)
        root: str = configuration["data"]["root-cert.pem"]
        return root.encode()

    async def debug(self, page: str) -> Any:
        """A page of istiod's debug interface, such as `syncz`."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._http}/debug/{page}") as answer:
            return await answer.json(content_type=None)

    async def metrics(self) -> str:
        async with aiohttp.ClientSession() as session, session.get(f"{self._http}/metrics") as answer:
            return await answer.text()


@asynccontextmanager
async def istiod(
    cluster: Kubernetes, folder: Path, mesh_config: dict[str, Any] | None = None
) -> AsyncIterator[Istiod]:
    """istiod, ready, with Istio's definitions applied and the root certificate in `default`."""
    binary = built("istiod")
    await cluster.kubectl("apply", "--server-side", "-f", str(FOLDER / "istio-definitions.yaml"))
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    http, https, plain, secure, monitoring, control = free_ports(6)
    configuration = folder / "mesh.yaml"
    configuration.write_text(yaml.safe_dump({"rootNamespace": NAMESPACE, **(mesh_config or {})}))
    environment = {
        "POD_NAMESPACE": NAMESPACE, "POD_NAME": "istiod-0", "CLUSTER_ID": "Kubernetes", "REVISION": "default",
        # Its serving certificate names this, beside its service.
        "ISTIOD_CUSTOM_HOST": "localhost",
        "INJECT_ENABLED": "false", "ENABLE_LEADER_ELECTION": "false",
    }  # fmt: skip
    command: Sequence[str | Path] = [
        binary, "discovery", f"--kubeconfig={cluster.kubeconfig}", f"--meshConfig={configuration}",
        f"--httpAddr=127.0.0.1:{http}", f"--httpsAddr=127.0.0.1:{https}", f"--grpcAddr=127.0.0.1:{plain}",
        f"--secureGRPCAddr=127.0.0.1:{secure}", f"--monitoringAddr=127.0.0.1:{monitoring}",
        f"--ctrlz_port={control}",
    ]  # fmt: skip
    async with program(command, folder / "istiod.log", environment) as process:
        await eventually(
            lambda: answers(f"http://127.0.0.1:{http}/ready"),
            SECONDS_TO_START,
            f"istiod is ready; {folder / 'istiod.log'} says why not",
        )
        found = Istiod(
            cluster, f"localhost:{secure}", f"127.0.0.1:{plain}", f"http://127.0.0.1:{monitoring}", process
        )
        await eventually(lambda: _has_root(cluster, "default"), 60, f"{ROOT_CERTIFICATE} is in `default`")
        yield found


async def _has_root(cluster: Kubernetes, namespace: str) -> bool:
    return bool(
        await cluster.kubectl(
            "get", "configmap", ROOT_CERTIFICATE, "-n", namespace, "--ignore-not-found", "-o", "name"
        )
    )


class IstioCa:
    """`Issuer` over istiod's CA, as an agent in a pod asks it: under the token of the pod's service account."""

    def __init__(self, channel: Any, token: str) -> None:
        self._stub: Any = istio_ca_pb2_grpc.IstioCertificateServiceStub(channel)  # type: ignore[no-untyped-call]
        self._token = token

    async def sign(
        self, csr_pem: bytes, spiffe_id: SpiffeId, pod_uid: str, ttl: timedelta
    ) -> tuple[x509.Certificate, ...]:
        """The chain, leaf first, without the root: istiod names whom the token belongs to."""
        request = istio_ca_pb2.IstioCertificateRequest(
            csr=csr_pem.decode(), validity_duration=int(ttl.total_seconds())
        )
        metadata = (("authorization", f"Bearer {self._token}"), ("clusterid", "Kubernetes"))
        try:
            answer = await self._stub.CreateCertificate(request, timeout=10, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise IssuanceError(f"istiod answered {error.code().name}: {error.details()}") from error
        chain = (x509.load_pem_x509_certificate(each.encode()) for each in answer.cert_chain)
        return tuple(each for each in chain if each.issuer != each.subject)

    async def sign_jwt(self, spiffe_id: SpiffeId, pod_uid: str, audience: Sequence[str]) -> str:
        """istiod signs no JWT-SVIDs."""
        raise IssuanceError("istiod signs no JWT-SVIDs")
