"""The node's serving certificate: asked for through the API, renewed at half life, its key only in memory."""

import asyncio
import base64
import logging
import random
import secrets
import ssl
import tempfile
from datetime import UTC, datetime
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hauberk.identity.certificate import Clock, Validity
from hauberk.model.kinds import CERTIFICATE_SIGNING_REQUEST
from hauberk.store.client import ApiError, Client

log = logging.getLogger(__name__)
SIGNER = "kubernetes.io/kubelet-serving"
POLL_SECONDS = 0.1
ANSWER_SECONDS = 30.0
LEAST_WAIT, MOST_WAIT = 0.5, 30.0
LEAST_LIFE, LOOK_SECONDS = 60.0, 10.0


class NotIssuedError(Exception):
    """The control plane refused the certificate or did not answer in time."""


class ServingCertificate:
    """`context` is for the server; it holds a certificate once `ready` is set."""

    def __init__(
        self, client: Client, node: str, authority: bytes, clock: Clock = lambda: datetime.now(UTC)
    ) -> None:
        self._clock = clock
        self.ready = asyncio.Event()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_verify_locations(cadata=authority.decode())
        self.context.verify_mode = ssl.CERT_REQUIRED
        self._client = client
        self._node = node

    async def run(self) -> None:
        """Obtains the certificate and renews it, until cancelled."""
        wait = LEAST_WAIT
        while True:
            try:
                certificate = await self._obtain()
            except (ApiError, NotIssuedError) as error:
                log.warning("serving certificate: %s; trying again", error)
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
                wait = min(wait * 2, MOST_WAIT)
                continue
            self.ready.set()
            wait = LEAST_WAIT
            await _wait(Validity.of(certificate), self._clock)

    async def _obtain(self) -> x509.Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"{self._node}-serving-{secrets.token_hex(4)}"
        request = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": base64.b64encode(_request(key, self._node)).decode(),
                "signerName": SIGNER,
                "usages": ["digital signature", "server auth"],
            },
        }
        await self._client.create(CERTIFICATE_SIGNING_REQUEST, request)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                chain = await self._answer(name)
        except TimeoutError as error:
            raise NotIssuedError(f"{name}: no answer within {ANSWER_SECONDS:g} s") from error
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        # OpenSSL's interface takes the key from a file; a private one, gone at once.
        with tempfile.NamedTemporaryFile(prefix="hauberk-") as file:
            file.write(chain + b"\n" + private)
            file.flush()
            self.context.load_cert_chain(file.name)
        return x509.load_pem_x509_certificate(chain)

    async def _answer(self, name: str) -> bytes:
        while True:
            status = (await self._client.get(CERTIFICATE_SIGNING_REQUEST, None, name)).get("status") or {}
            if certificate := status.get("certificate"):
                return base64.b64decode(certificate)
            for condition in status.get("conditions") or ():
                if condition["type"] in {"Denied", "Failed"}:
                    raise NotIssuedError(f"{name}: {condition.get('message') or condition['type']}")
            await asyncio.sleep(POLL_SECONDS)


async def _wait(validity: Validity, clock: Clock) -> None:
    """Until half life, or until a clock that was set finds the certificate not valid; at least a minute."""
    due = validity.not_before + validity.lifetime / 2 * random.uniform(0.9, 1.1)  # noqa: S311
    await asyncio.sleep(LEAST_LIFE)
    while (now := clock()) < due and validity.contains(now):  # noqa: ASYNC110 - a clock sets no event
        await asyncio.sleep(LOOK_SECONDS)


def _request(key: ec.EllipticCurvePrivateKey, node: str) -> bytes:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    builder = (
        x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
