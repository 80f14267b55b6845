"""Manifests in a folder: what would be sent, and a server that follows the files."""

import asyncio
from pathlib import Path

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from mesh_testing.control_plane import eventually
from mesh_testing.objects import BANK

from hauberk.mesh.proxy import MalformedNodeError, Proxy, ProxyKind, parse_node_id
from hauberk.mesh.registry import Labels, Mesh, Registry
from hauberk.mesh.serialization import CLUSTER
from hauberk.mesh.serve_files import MalformedManifestError, dump, read_objects, serve, with_addresses
from hauberk.mesh.snapshot import Snapshot

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: n}
spec: {ports: [{name: http, port: 80}]}
"""


def test_dump() -> None:
    snapshot = Snapshot(Registry().update(with_addresses(read_objects(BANK))))
    proxy = Proxy(ProxyKind.SIDECAR, "bank", "web-1", "10.66.0.7", Labels.of({"app": "web"}), "web")
    shown = dump(snapshot, proxy)
    inbound = next(one for one in shown["LDS"] if one["name"] == "virtualInbound")
    assert inbound["metadata"]["filter_metadata"]["hauberk.io"]["service"] == "web.bank.svc.cluster.local"
    assert any(one["name"] == "web.bank.svc.cluster.local:8000" for one in shown["RDS"])


def test_a_file_that_is_no_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(MalformedManifestError, match=r"broken\.yaml"):
        list(read_objects(tmp_path))


def test_node_ids() -> None:
    assert parse_node_id("sidecar~10.66.0.7~web-1.x.bank~bank.svc.cluster.local").name == "web-1.x"
    for malformed in ("", "sidecar~1~web~d", "other~1~a.b~d", "a~b"):
        with pytest.raises(MalformedNodeError, match="expected KIND"):
            parse_node_id(malformed)


async def test_serving_follows_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "a.yaml").write_text(SERVICE.replace("NAME", "a"))
    listen = f"unix:{tmp_path}/xds.sock"
    task = asyncio.create_task(serve(folder, listen, Mesh()))
    try:
        async with grpc.aio.insecure_channel(listen) as channel:
            await asyncio.wait_for(channel.channel_ready(), 10)
            stream = channel.stream_stream(
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
                request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
            )()
            node = {"id": "sidecar~10.66.0.7~web.n~n.svc.cluster.local"}
            await stream.write(discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER, node=node))
            first = await asyncio.wait_for(stream.read(), 10)
            assert "outbound|80||a.n.svc.cluster.local" in {one.name for one in first.resources}
            await stream.write(
                discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=first.nonce)
            )
            (folder / "b.yaml").write_text(SERVICE.replace("NAME", "b"))
            second = await asyncio.wait_for(stream.read(), 10)
            assert [one.name for one in second.resources] == ["outbound|80||b.n.svc.cluster.local"]
            stream.cancel()
    finally:
        task.cancel()
        await eventually(task.done)
