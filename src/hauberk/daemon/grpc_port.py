"""The gRPC port: mutual TLS with nodes' client certificates and pods' SVIDs, and a certificate that renews."""

from collections.abc import Iterable
from typing import Any

import grpc

from hauberk.daemon.credentials import Credential
from hauberk.daemon.options import Listen

LARGEST_MESSAGE = 16 * 1024 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ("grpc.max_send_message_length", LARGEST_MESSAGE),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
)


class GrpcPort:
    """Serves handlers; `renew` replaces the certificate and roots from the next handshake on."""

    def __init__(self, listen: Listen, credential: Credential, roots: bytes) -> None:
        self._listen = listen
        self._configuration = _configuration(credential, roots)
        self._served = self._configuration
        self.server = grpc.aio.server(options=_OPTIONS)

    def renew(self, credential: Credential, roots: bytes) -> None:
        self._configuration = _configuration(credential, roots)

    async def start(self, handlers: Iterable[grpc.GenericRpcHandler]) -> Listen:
        """Listen; returns the address with the port that was taken.

        Raises:
            RuntimeError: the address cannot be listened on.
        """
        self.server.add_generic_rpc_handlers(tuple(handlers))
        credentials = grpc.dynamic_ssl_server_credentials(
            self._configuration, self._fetch, require_client_authentication=True
        )
        port = self.server.add_secure_port(str(self._listen), credentials)
        await self.server.start()
        return Listen(self._listen.host, port)

    async def stop(self) -> None:
        await self.server.stop(grace=0.5)

    def _fetch(self) -> Any:
        # Called by gRPC's own thread before a handshake; None says that nothing is new.
        current = self._configuration
        if current is self._served:
            return None
        self._served = current
        return current


def _configuration(credential: Credential, roots: bytes) -> Any:
    return grpc.ssl_server_certificate_configuration(
        ((credential.key, credential.chain),), root_certificates=roots
    )
