"""One gRPC server for one workload's socket: Workload API and SDS side by side."""

import os
from pathlib import Path

import grpc
from envoy.service.secret.v3 import sds_pb2_grpc

from hauberk.identity.protocol import workload_pb2_grpc
from hauberk.identity.sds import SecretDiscovery
from hauberk.identity.svid import SvidSource
from hauberk.identity.workload_api import WorkloadApi


def add_workload_services(server: grpc.aio.Server, source: SvidSource) -> None:
    """Add Workload API and SDS for the workload of `source`."""
    workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(  # type: ignore[no-untyped-call]
        WorkloadApi(source), server
    )
    sds_pb2_grpc.add_SecretDiscoveryServiceServicer_to_server(SecretDiscovery(source), server)


async def serve_workload(path: Path, source: SvidSource, mode: int = 0o600) -> grpc.aio.Server:
    """Serve them on a Unix socket, and return the server, to be stopped by the caller.

    Whoever can reach the socket gets the workload's key: place it, or check its peers, accordingly.
    Raises `RuntimeError` if the path cannot be bound.
    """
    server: grpc.aio.Server = grpc.aio.server()
    add_workload_services(server, source)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    os.chmod(path, mode)  # noqa: PTH101
    return server
