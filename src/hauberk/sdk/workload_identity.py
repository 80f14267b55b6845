"""Mutual TLS with the certificate that the SPIFFE Workload API gives this program, renewed as it comes."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import grpc

from hauberk.sdk.messages import X509SvidRequest, X509SvidResponse

SOCKET = "SPIFFE_ENDPOINT_SOCKET"
FETCH = "/SpiffeWorkloadAPI/FetchX509SVID"
PATIENCE = 10.0
"""Seconds for the first certificate."""


class NoIdentityError(Exception):
    """The Workload API gave no certificate in time; the message says where it was looked for."""


async def mutual_tls() -> grpc.ServerCredentials:
    """Of a server that takes callers with a certificate of the trust domain alone.

    Raises:
        NoIdentityError: there is no Workload API, or it gives no certificate.
    """
    identity = _Identity(os.environ.get(SOCKET, ""))
    first = await identity.first()
    made: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
        first, identity.newest, require_client_authentication=True
    )
    return made


class _Identity:
    """Follows the Workload API on a thread of its own, from which gRPC takes what is newest at each handshake."""

    def __init__(self, endpoint: str) -> None:
        if not endpoint.startswith("unix:"):
            raise NoIdentityError(f"{SOCKET}: expected unix:PATH, found {endpoint!r}")
        self._endpoint = "unix:" + endpoint.removeprefix("unix:").removeprefix("//")
        self._newest: Any = None
        self._came = threading.Event()

    async def first(self) -> Any:
        """Wait for the first certificate, then keep to the newest."""
        metadata = (("workload.spiffe.io", "true"),)
        channel = grpc.insecure_channel(self._endpoint)
        fetch = channel.unary_stream(
            FETCH,
            request_serializer=X509SvidRequest.SerializeToString,
            response_deserializer=X509SvidResponse.FromString,
        )
        responses = fetch(X509SvidRequest(), metadata=metadata, wait_for_ready=True)
        threading.Thread(target=self._follow, args=(fetch, responses, metadata), daemon=True).start()
        if not await asyncio.to_thread(self._came.wait, PATIENCE):
            raise NoIdentityError(f"{SOCKET}: no certificate within {PATIENCE} s at {self._endpoint}")
        return self._newest

    def newest(self) -> Any:
        """What gRPC is to present from now on."""
        return self._newest

    def _follow(self, fetch: Any, responses: Any, metadata: Any) -> None:
        pause = threading.Event()
        while True:
            try:
                for response in responses:
                    self._take(response)
            except grpc.RpcError:
                # The node's agent starts anew: what there is holds until it is back.
                pause.wait(1)
            responses = fetch(X509SvidRequest(), metadata=metadata, wait_for_ready=True)

    def _take(self, response: Any) -> None:
        from cryptography import x509  # noqa: PLC0415
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

        svid = response.svids[0]
        key = serialization.load_der_private_key(svid.x509_svid_key, None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem = serialization.Encoding.PEM
        chain, bundle = (
            b"".join(x509.load_der_x509_certificate(one).public_bytes(pem) for one in _certificates(der))
            for der in (svid.x509_svid, svid.bundle)
        )
        self._newest = grpc.ssl_server_certificate_configuration([(key, chain)], bundle)
        self._came.set()


def _certificates(der: bytes) -> list[bytes]:
    """DER certificates that follow one another: each is a SEQUENCE whose length stands behind its tag (X.690 8.1.3)."""
    found = []
    while der:
        length, start = der[1], 2
        if length & 0x80:
            start = 2 + (length & 0x7F)
            length = int.from_bytes(der[2:start], "big")
        found.append(der[: start + length])
        der = der[start + length :]
    return found
