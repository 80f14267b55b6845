"""Runs an authorizer until it is told to end."""

from __future__ import annotations

import asyncio
import signal

import grpc

from hauberk.sdk.decision import Decide
from hauberk.sdk.over_grpc import handler
from hauberk.sdk.over_http import MOST_HEAD, HttpAuthorizer
from hauberk.sdk.workload_identity import mutual_tls

GRACE = 5.0
"""Seconds for questions under way when the authorizer ends."""


async def serve(
    decide: Decide,
    *,
    grpc_address: str = "",
    http_address: str = "",
    path_prefix: str = "",
    spiffe_tls: bool = False,
    ready: asyncio.Event | None = None,
) -> None:
    """Answer by `decide` until SIGTERM or SIGINT, or until cancelled.

    Addresses are `HOST:PORT`; at least one must be given. `path_prefix` is the HTTP provider's `pathPrefix`, which is
    taken off again. In the mesh the pod's proxy speaks mutual TLS; only where nobody does, `spiffe_tls` makes the gRPC
    port take callers with a certificate of the trust domain alone, by the SPIFFE Workload API. `ready` is set when all
    ports listen.

    Raises:
        ValueError: no address is given.
        OSError: an address cannot be listened on.
    """
    if not grpc_address and not http_address:
        raise ValueError("expected grpc_address or http_address, found neither")
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    server = await _grpc(decide, grpc_address, spiffe_tls) if grpc_address else None
    listener = await _http(decide, http_address, path_prefix) if http_address else None
    try:
        if ready is not None:
            ready.set()
        await ending.wait()
    finally:
        if listener is not None:
            listener.close()
        if server is not None:
            await server.stop(GRACE)


async def _grpc(decide: Decide, address: str, spiffe_tls: bool) -> grpc.aio.Server:
    server: grpc.aio.Server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler(decide),))
    credentials = await mutual_tls() if spiffe_tls else None
    bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    if bound == 0:
        raise OSError(f"cannot listen on {address}")
    await server.start()
    return server


async def _http(decide: Decide, address: str, path_prefix: str) -> asyncio.Server:
    host, _, port = address.rpartition(":")
    authorizer = HttpAuthorizer(decide, path_prefix)
    return await asyncio.start_server(authorizer.connection, host.strip("[]"), int(port), limit=MOST_HEAD)
