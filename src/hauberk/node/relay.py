"""ADS of one pod's proxy, passed on byte by byte to the control plane under the pod's own SVID."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc

from hauberk.identity.svid import Identity, SvidSource

log = logging.getLogger(__name__)

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
METHODS = frozenset({SERVICE + "StreamAggregatedResources", SERVICE + "DeltaAggregatedResources"})
OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    ("grpc.max_send_message_length", 256 * 1024 * 1024),
    # One connection a pod: streams of two pods must never share one identity.
    ("grpc.use_local_subchannel_pool", 1),
]


class DiscoveryRelay(grpc.GenericRpcHandler):
    """While the control plane is away a stream waits; gRPC tries again with jitter, at most every 5 s.

    A stream that breaks is ended with UNAVAILABLE: its proxy begins a new one and says what it has.
    """

    def __init__(self, target: str, roots: bytes, source: SvidSource) -> None:
        self._target = target
        self._roots = roots
        self._source = source
        self._channel: grpc.aio.Channel | None = None
        self._identity: Identity | None = None

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        if method not in METHODS:
            return None

        async def relay(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            upstream: Any = (await self._connect()).stream_stream(method)
            call = upstream(requests, wait_for_ready=True)
            try:
                async for message in call:
                    yield message
            except grpc.aio.AioRpcError as error:
                log.info("relay to %s: %s: %s", self._target, error.code().name, error.details())
                await context.abort(error.code(), error.details() or "")
            finally:
                call.cancel()

        return grpc.stream_stream_rpc_method_handler(relay)

    async def close(self) -> None:
        """Ends all streams."""
        if self._channel is not None:
            await self._channel.close()

    async def _connect(self) -> grpc.aio.Channel:
        """A channel under the newest SVID; streams under an older one end by themselves or by the server."""
        identity = await self._source.ready()
        if self._channel is None or identity is not self._identity:
            credentials = grpc.ssl_channel_credentials(
                root_certificates=self._roots,
                private_key=identity.svid.key_pem(),
                certificate_chain=identity.svid.chain_pem,
            )
            if self._channel is not None:
                self._close_later(self._channel)
            self._channel = grpc.aio.secure_channel(self._target, credentials, options=OPTIONS)
            self._identity = identity
        return self._channel

    def _close_later(self, channel: grpc.aio.Channel) -> None:
        """The proxy's streams on the old channel may go on: a stream is as good as the identity it began with."""
        asyncio.get_running_loop().call_later(3600, lambda: asyncio.ensure_future(channel.close()))
