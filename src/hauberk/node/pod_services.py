"""What a pod is served under its own identity: ADS and SDS for its proxy, Workload API and SDS for its program."""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from envoy.service.secret.v3 import sds_pb2_grpc

from hauberk.identity.ca_client import CaClient
from hauberk.identity.sds import SecretDiscovery
from hauberk.identity.spiffe_id import TrustDomain
from hauberk.identity.svid import SvidSource
from hauberk.identity.workload_server import serve_workload
from hauberk.model.kind import Object
from hauberk.node.pod_record import PodRecord
from hauberk.node.relay import OPTIONS, DiscoveryRelay
from hauberk.node.settings import Settings

log = logging.getLogger(__name__)


class IdentityServices:
    """`PodServices` over a CA client; the SVID is asked for at `start` and kept current until `stop`."""

    def __init__(
        self, settings: Settings, ca: CaClient, roots: bytes, record: PodRecord, pod: Object
    ) -> None:
        domain = TrustDomain(settings.trust_domain)
        account = pod["spec"].get("serviceAccountName") or "default"
        self.source = SvidSource(
            ca, domain.workload(record.namespace, account), record.uid, ca.bundles, lambda: datetime.now(UTC)
        )
        self._settings = settings
        self._relay = DiscoveryRelay(settings.grpc, roots, self.source)
        self._servers: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, xds: Path, workload: Path) -> None:
        if self._servers:
            return
        self._tasks = [asyncio.create_task(self.source.run()), asyncio.create_task(self._keep_chains())]
        for path in (xds, workload):
            path.unlink(missing_ok=True)
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((self._relay,))
        sds_pb2_grpc.add_SecretDiscoveryServiceServicer_to_server(SecretDiscovery(self.source), server)
        server.add_insecure_port(f"unix:{xds}")
        await server.start()
        self._servers = [server, await serve_workload(workload, self.source)]

    async def stop(self) -> None:
        for server in self._servers:
            await server.stop(0)
        await self._relay.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._servers, self._tasks = [], []

    async def _keep_chains(self) -> None:
        """Call records name SVIDs by serial number: the public chains stay, so that a call can be explained."""
        folder = self._settings.svids
        folder.mkdir(parents=True, exist_ok=True)
        async for identity in self.source.changes():
            file = folder / f"{identity.svid.serial_hex}.pem"
            try:
                if not file.exists():
                    temporary = file.with_suffix(".pem~")
                    temporary.write_bytes(identity.svid.chain_pem)
                    temporary.rename(file)
            except OSError as error:
                log.error("%s: %s; calls under this SVID cannot be explained later", file, error)


def ca_channel(target: str, roots: bytes, certificate: bytes, key: bytes) -> grpc.aio.Channel:
    """The node's own channel to the CA, under its client certificate."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=roots, private_key=key, certificate_chain=certificate
    )
    return grpc.aio.secure_channel(target, credentials, options=OPTIONS)
