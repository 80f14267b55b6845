"""hauberkd with a certificate authority of a few lines in the ring identity's place: an instrument."""

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from hauberk.daemon.command import command
from hauberk.identity import certificate as make
from hauberk.identity.bundle import chain_pem
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain


class InstrumentAuthority:
    """One root that signs everything; kept in a file, so that a restart finds it."""

    def __init__(self, path: Any) -> None:
        if not path.exists():
            life = make.Validity.starting(datetime.now(UTC), timedelta(days=30))
            root = make.make_root(TrustDomain("cluster.local"), life, self._serial())
            key = root.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            path.write_bytes(key + root.certificate.public_bytes(Encoding.PEM))
        content = path.read_bytes()
        key = load_pem_private_key(content, None)
        self._root = make.Signer(x509.load_pem_x509_certificate(content), key)

    def root_pem(self) -> bytes:
        return chain_pem([self._root.certificate])

    def api_server(self, public_key: Any, names: Any, lifetime: timedelta) -> bytes:
        return chain_pem([make.make_api_server(self._root, public_key, names, *self._life(lifetime))])

    def api_client(self, public_key: Any, name: str, organizations: Any, lifetime: timedelta) -> bytes:
        made = make.make_api_client(self._root, public_key, name, organizations, *self._life(lifetime))
        return chain_pem([made])

    def svid(self, public_key: Any, spiffe_id: str) -> bytes:
        made = make.make_svid(
            self._root, public_key, SpiffeId.parse(spiffe_id), *self._life(timedelta(hours=1))
        )
        return chain_pem([made])

    def handler(self, _judge: Any) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler("instrument.Nothing", {})

    def rotate(self, now: datetime) -> datetime:
        return now + timedelta(days=1)

    def _life(self, lifetime: timedelta) -> tuple[make.Validity, int]:
        return make.Validity.starting(datetime.now(UTC), lifetime), self._serial()

    @staticmethod
    def _serial() -> int:
        return make.random_serial(os.urandom)


@contextlib.contextmanager
def open_authority(options: Any, _sealer: Any) -> Iterator[Any]:
    yield InstrumentAuthority(options.state / "instrument-ca.pem")


if __name__ == "__main__":
    command(open_authority)()
