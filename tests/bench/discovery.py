"""Our control plane for the measured proxies: `python -m tests.bench.discovery PLAN.json` serves until it is ended.

The plan is `{"objects": […], "proxies": [{"socket": PATH, "namespace": …, "account": …}], "callers": [{"folder": PATH,
"namespace": …, "account": …}]}`. Each proxy has a socket of its own, as a pod has: ADS from the objects and SDS under
that proxy's identity. A caller is no proxy: its certificate lies in files (`credentials.py`).
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from cryptography import x509
from envoy.service.secret.v3 import sds_pb2_grpc
from tests.bench import credentials

from hauberk.identity.authority import CertificateAuthority, utc_now
from hauberk.identity.sds import SecretDiscovery
from hauberk.identity.spiffe_id import SpiffeId
from hauberk.identity.svid import IssuanceError, SvidSource
from hauberk.mesh.ads import Discovery
from hauberk.mesh.proxy import proxy_from_metadata
from hauberk.mesh.registry import Registry


class LocalIssuer:
    """The certificate authority in the same process, as a node's `Issuer`."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._authority = authority

    async def sign(
        self, csr_pem: bytes, spiffe_id: SpiffeId, _pod_uid: str, ttl: timedelta
    ) -> tuple[x509.Certificate, ...]:
        return self._authority.sign_workload(csr_pem, spiffe_id, ttl).chain

    async def sign_jwt(self, _spiffe_id: SpiffeId, _pod_uid: str, _audience: Sequence[str]) -> str:
        raise IssuanceError("no proxy asks for a JWT")


async def serve(plan: dict[str, Any], state: Path) -> None:
    registry = Registry().update(plan["objects"])
    discovery = Discovery(registry, lambda _context, node: proxy_from_metadata(node))
    authority = credentials.authority(state)
    for caller in plan["callers"]:
        credentials.write(authority, caller["namespace"], caller["account"], Path(caller["folder"]))
    issuer = LocalIssuer(authority)
    async with asyncio.TaskGroup() as tasks:
        for proxy in plan["proxies"]:
            identity = credentials.DOMAIN.workload(proxy["namespace"], proxy["account"])
            source = SvidSource(issuer, identity, proxy["account"], authority.watched_bundles, utc_now)
            tasks.create_task(source.run())
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((discovery.handler(),))
            sds_pb2_grpc.add_SecretDiscoveryServiceServicer_to_server(SecretDiscovery(source), server)
            server.add_insecure_port(f"unix:{proxy['socket']}")
            await server.start()
            tasks.create_task(server.wait_for_termination())


def main() -> None:
    os.umask(0)  # a proxy in its gate runs as a user of its own, and connects to its socket
    with TemporaryDirectory() as state:
        asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text()), Path(state)))


if __name__ == "__main__":
    main()
