"""Serve ADS from manifests in a folder, without an API and without authentication; or print what would be sent.

python -m hauberk.mesh.serve_files DIR --listen unix:/tmp/xds.sock
python -m hauberk.mesh.serve_files DIR --dump --labels app=web
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf import any_pb2, json_format

from hauberk.mesh.ads import Discovery
from hauberk.mesh.proxy import Proxy, parse_node_id, proxy_from_metadata
from hauberk.mesh.registry import Labels, Mesh, ObjectKey, Registry, object_key
from hauberk.mesh.serialization import CLUSTER, ENDPOINT, LISTENER, ROUTE, SHORT_NAMES
from hauberk.mesh.snapshot import Snapshot
from hauberk.model.kind import Object

_MESSAGES = {
    LISTENER: listener_pb2.Listener,
    ROUTE: route_pb2.RouteConfiguration,
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
}

POLL_SECONDS = 0.2


class MalformedManifestError(Exception):
    """A file is not YAML, or holds something that is no object."""


def read_objects(folder: Path) -> Iterator[Object]:
    """All objects of the `*.yaml` files of a folder, in order; those without a namespace are in `default`.

    Raises:
        MalformedManifestError: the message names the file.
    """
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml"), *folder.glob("*.json")]):
        try:
            documents = list(yaml.safe_load_all(path.read_text()))
        except yaml.YAMLError as error:
            raise MalformedManifestError(f"{path}: {error}") from error
        for document in documents:
            if isinstance(document, dict) and "kind" in document and "metadata" in document:
                document["metadata"].setdefault("namespace", "default")
                yield document


def with_addresses(objects: Iterable[Object]) -> list[Object]:
    """The same, with an address for each Service that has none, as an API would give it."""
    found = list(objects)
    services = [one for one in found if one["kind"] == "Service" and one["apiVersion"] == "v1"]
    for number, service in enumerate(services, start=1):
        service.setdefault("spec", {}).setdefault("clusterIP", f"10.96.{number >> 8}.{number & 0xFF}")
    return found


def dump(snapshot: Snapshot, proxy: Proxy) -> dict[str, list[dict[str, Any]]]:
    """All resources of a proxy as Protocol Buffers' JSON, by type."""
    resources = snapshot.resources(proxy)
    return {
        SHORT_NAMES[type_url]: [
            json_format.MessageToDict(_decode(message, one.any), preserving_proto_field_name=True)
            for one in resources.of(type_url).values()
        ]
        for type_url, message in _MESSAGES.items()
    }


def _decode(message: Any, encoded: bytes) -> Any:
    decoded = message()
    decoded.ParseFromString(any_pb2.Any.FromString(encoded).value)
    return decoded


async def serve(folder: Path, listen: str, mesh: Mesh) -> None:
    """Serve until cancelled; files that change are read again."""
    registry, known = Registry(mesh), frozenset[ObjectKey]()
    registry, known = _reload(folder, registry, known)
    discovery = Discovery(registry, lambda _context, node: proxy_from_metadata(node))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((discovery.handler(),))
    server.add_insecure_port(listen)
    await server.start()
    logging.getLogger(__name__).info("serving %s on %s", folder, listen)
    stamp = _stamp(folder)
    try:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if (now := _stamp(folder)) != stamp:
                stamp = now
                registry, known = _reload(folder, registry, known)
                discovery.publish(registry)
    finally:
        await server.stop(grace=0.1)


def _reload(
    folder: Path, registry: Registry, known: frozenset[ObjectKey]
) -> tuple[Registry, frozenset[ObjectKey]]:
    objects = with_addresses(read_objects(folder))
    keys = frozenset(object_key(one) for one in objects)
    return registry.update(objects, known - keys), keys


def _stamp(folder: Path) -> frozenset[tuple[str, int, int]]:
    return frozenset((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hauberk.mesh.serve_files", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--listen", default="127.0.0.1:15010", help="unix:PATH or ADDRESS:PORT")
    parser.add_argument("--dump", action="store_true", help="print a proxy's resources as JSON and end")
    parser.add_argument("--node", default="sidecar~127.0.0.1~anyone.default~default.svc.cluster.local")
    parser.add_argument("--labels", default="", help="the proxy's labels for --dump: app=web,version=v1")
    parser.add_argument("--service-account", default="default")
    parser.add_argument("--trust-domain", default="cluster.local")
    options = parser.parse_args()
    mesh = Mesh(trust_domain=options.trust_domain)
    if options.dump:
        node = parse_node_id(options.node)
        labels = Labels.of(dict(part.split("=", 1) for part in options.labels.split(",") if part))
        proxy = Proxy(node.kind, node.namespace, node.name, node.address, labels, options.service_account)
        snapshot = Snapshot(Registry(mesh).update(with_addresses(read_objects(options.folder))))
        json.dump(dump(snapshot, proxy), sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(serve(options.folder, options.listen, mesh))


if __name__ == "__main__":
    main()
