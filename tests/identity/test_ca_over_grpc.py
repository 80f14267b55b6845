"""Node, CA, Workload API and SDS together, over real gRPC with mutual TLS."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.secret.v3 import sds_pb2_grpc

from hauberk.daemon.peer import Peer, peer_of_certificate
from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.bundle import chain_pem
from hauberk.identity.ca_client import CaClient
from hauberk.identity.ca_service import Refused, add_ca_services
from hauberk.identity.certificate import Validity, generate_key, make_api_client, make_request
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain
from hauberk.identity.svid import IssuanceError, SvidSource, check_svid
from hauberk.identity.workload_server import serve_workload
from hauberk.store.authentication import Authentication
from hauberk.store.encryption import generate_sealer
from hauberk.store.user import ANONYMOUS

WEB = SpiffeId.parse("spiffe://cluster.local/ns/bank/sa/web")


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Served:
    authority: CertificateAuthority
    address: str

    def client(self, name: str, organizations: tuple[str, ...]) -> grpc.aio.Channel:
        key = generate_key()
        chain = self.authority.sign_api_client(key.public_key(), name, organizations).pem
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return grpc.aio.secure_channel(
            self.address, grpc.ssl_channel_credentials(self.authority.roots_pem, pem, chain)
        )


async def authorize(node: str, spiffe_id: SpiffeId, pod_uid: str) -> None:
    if (node, spiffe_id, pod_uid) != ("one", WEB, "uid-1"):
        raise Refused(f"pod {pod_uid} is not bound to it")


@asynccontextmanager
async def served(state: Path) -> AsyncIterator[Served]:
    authority = CertificateAuthority.open(
        state, generate_sealer(), now, trust_domain=TrustDomain("cluster.local")
    )
    key = generate_key()
    chain = authority.sign_api_server(key.public_key(), ["127.0.0.1", "localhost"]).pem
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    server = grpc.aio.server()
    add_ca_services(server, authority, authorize)
    credentials = grpc.ssl_server_credentials([(pem, chain)], authority.roots_pem, True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield Served(authority, f"127.0.0.1:{port}")
    finally:
        await server.stop(None)


async def test_only_the_pods_node_gets_its_svid(tmp_path: Path) -> None:
    async with served(tmp_path) as ca:
        request = make_request(generate_key())
        async with ca.client("system:node:one", ("system:nodes",)) as channel:
            chain = await CaClient(channel).sign(request, WEB, "uid-1", timedelta(hours=1))
            assert check_svid(chain[0]) == WEB
            assert len(chain) == 2
            with pytest.raises(IssuanceError, match="not bound"):
                await CaClient(channel).sign(request, WEB, "uid-2", timedelta(hours=1))
        for name, organizations in (
            ("system:node:two", ("system:nodes",)),
            ("system:node:one", ()),
            ("alice", ("system:nodes",)),
        ):
            async with ca.client(name, organizations) as channel:
                with pytest.raises(IssuanceError, match="PERMISSION_DENIED"):
                    await CaClient(channel).sign(request, WEB, "uid-1", timedelta(hours=1))


async def test_a_nodes_name_counts_only_from_the_apis_own_intermediate(tmp_path: Path) -> None:
    """Whoever has the workloads' intermediate can sign any name, a node's too: it names nobody there."""
    async with served(tmp_path) as ca:
        issuer = ca.authority._state.svid.current
        key = generate_key()
        validity = Validity.starting(now(), timedelta(hours=1))
        leaf = make_api_client(issuer, key.public_key(), "system:node:one", ["system:nodes"], validity, 1)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        credentials = grpc.ssl_channel_credentials(
            ca.authority.roots_pem, pem, chain_pem([leaf, issuer.certificate])
        )
        async with grpc.aio.secure_channel(ca.address, credentials) as channel:
            with pytest.raises(IssuanceError, match="the API's own intermediate"):
                await CaClient(channel).sign(make_request(generate_key()), WEB, "uid-1", timedelta(hours=1))
    assert peer_of_certificate(leaf) == Peer()
    certificate = {
        "subject": ((("commonName", "admin"),),),
        "issuer": ((("commonName", "hauberk workloads"),),),
    }
    guarded = Authentication(client_issuer="hauberk api")
    assert guarded.authenticate(certificate, None) == ANONYMOUS
    certificate["issuer"] = ((("commonName", "hauberk api"),),)
    assert guarded.authenticate(certificate, None).name == "admin"


CLIENT = """
import json, sys
from spiffe import WorkloadApiClient
with WorkloadApiClient(sys.argv[1]) as client:
    svid = client.fetch_x509_svid()
    token = client.fetch_jwt_svid(audience={"bank"})
    valid = client.validate_jwt_svid(token.token, "bank")
    bundles = client.fetch_x509_bundles().bundles
    jwt = client.fetch_jwt_bundles()
    print(json.dumps([str(svid.spiffe_id), str(valid.spiffe_id), len(bundles), len(svid.cert_chain)]))
"""


async def test_an_independent_workload_api_client_and_sds(tmp_path: Path) -> None:
    path = tmp_path / "workload.sock"
    async with served(tmp_path / "state") as ca, ca.client("system:node:one", ("system:nodes",)) as channel:
        client = CaClient(channel)
        source = SvidSource(client, WEB, "uid-1", client.bundles, now)
        tasks = [asyncio.ensure_future(client.run()), asyncio.ensure_future(source.run())]
        server = await serve_workload(path, source)
        try:
            identity = await asyncio.wait_for(source.ready(), 10)
            command = [sys.executable, "-c", CLIENT, f"unix://{path}"]
            run = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=30, env=dict(os.environ)
            )
            assert run.returncode == 0, run.stderr
            assert json.loads(run.stdout) == [str(WEB), str(WEB), 1, 2]
            async with grpc.aio.insecure_channel(f"unix:{path}") as plain:
                stub = sds_pb2_grpc.SecretDiscoveryServiceStub(plain)
                answer = await stub.FetchSecrets(
                    discovery_pb2.DiscoveryRequest(resource_names=["default", "ROOTCA"])
                )
                assert len(answer.resources) == 2
                assert identity.svid.chain_pem in answer.resources[0].value
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop(None)
