"""X.509-SVIDs in a workload's hands, and the source that keeps one current."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from hauberk.identity.bundle import TrustBundles, chain_der, chain_pem
from hauberk.identity.certificate import Clock, PrivateKey, Validity, generate_key, make_request, serial_hex
from hauberk.identity.spiffe_id import SpiffeId
from hauberk.identity.watched import Watched

log = logging.getLogger(__name__)

LIFETIME = timedelta(hours=1)
JITTER = 0.1
"""Renewal is moved by up to this part of the half life, so that workloads started together do not renew together."""
LEAST_WAIT = 0.5
"""Seconds between two renewals, however short the life that the CA grants."""
FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0
LONGEST_SLEEP = 5.0
"""Seconds, after which a clock that was stepped is noticed: until then nobody believes an SVID of another time."""


class InvalidSvidError(ValueError):
    """A certificate is not the SVID that it should be; the message says which rule it breaks."""


class IssuanceError(Exception):
    """The CA did not sign; the message is its reason."""


@dataclass(frozen=True, slots=True)
class X509Svid:
    """A workload's certificate, its intermediates (leaf first, no root) and its key."""

    spiffe_id: SpiffeId
    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)

    @property
    def serial_hex(self) -> str:
        return serial_hex(self.chain[0])

    @property
    def validity(self) -> Validity:
        return Validity.of(self.chain[0])

    @property
    def chain_pem(self) -> bytes:
        return chain_pem(self.chain)

    @property
    def chain_der(self) -> bytes:
        return chain_der(self.chain)

    def key_pem(self) -> bytes:
        """PKCS #8, not encrypted: for the workload that it belongs to, and for nobody else."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def key_der(self) -> bytes:
        """PKCS #8, not encrypted: for the workload that it belongs to, and for nobody else."""
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class Identity:
    """All that a workload needs to prove itself and to check others."""

    svid: X509Svid
    bundles: TrustBundles


class Issuer(Protocol):
    """A CA as a node sees it. Every method raises `IssuanceError` with the CA's reason."""

    async def sign(
        self, csr_pem: bytes, spiffe_id: SpiffeId, pod_uid: str, ttl: timedelta
    ) -> tuple[x509.Certificate, ...]: ...

    async def sign_jwt(self, spiffe_id: SpiffeId, pod_uid: str, audience: Sequence[str]) -> str: ...


def check_svid(certificate: x509.Certificate) -> SpiffeId:
    """The SPIFFE ID of a leaf, after the rules of the X.509-SVID standard (2-5).

    Raises:
        InvalidSvidError: a rule is broken. Signatures and validity are the TLS stack's to check.
    """
    try:
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise InvalidSvidError(f"expected a URI SAN and a key usage: {error}") from error
    if len(uris) != 1:
        raise InvalidSvidError(f"expected exactly one URI SAN, found {len(uris)}")
    if not certificate.subject.rdns and not names.critical:
        raise InvalidSvidError("the subject is empty, so the SAN must be critical")
    if not usage.critical or not usage.value.digital_signature:
        raise InvalidSvidError("expected a critical key usage with digitalSignature")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise InvalidSvidError("a leaf must not have keyCertSign or cRLSign")
    _check_leaf_constraints(extensions)
    try:
        spiffe_id = SpiffeId.parse(uris[0])
    except ValueError as error:
        raise InvalidSvidError(str(error)) from error
    if not spiffe_id.path:
        raise InvalidSvidError(f"{spiffe_id} has no path: it names a trust domain, not a workload")
    return spiffe_id


def _check_leaf_constraints(extensions: x509.Extensions) -> None:
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise InvalidSvidError("a leaf must not be a CA")
        if isinstance(value, x509.ExtendedKeyUsage):
            both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
            if not both <= set(value):
                raise InvalidSvidError("an extended key usage must hold both serverAuth and clientAuth")


class SvidSource:
    """Keeps one workload's SVID current; `run` does the work, everything else reads."""

    def __init__(
        self,
        issuer: Issuer,
        spiffe_id: SpiffeId,
        pod_uid: str,
        bundles: Watched[TrustBundles],
        clock: Clock,
        *,
        lifetime: timedelta = LIFETIME,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.spiffe_id = spiffe_id
        self.failure: str | None = None
        """Why the last renewal failed, None if it did not."""
        self._issuer = issuer
        self._pod_uid = pod_uid
        self._bundles = bundles
        self._clock = clock
        self._lifetime = lifetime
        self._jitter = jitter
        self._sleep = sleep
        self._identity: Watched[Identity] = Watched()

    @property
    def current(self) -> Identity | None:
        """The identity now, None before the first is issued."""
        return self._identity.value

    async def ready(self) -> Identity:
        """The identity, as soon as there is one."""
        return await self._identity.get()

    def changes(self) -> AsyncIterator[Identity]:
        """The identity at once if there is one, then again at each renewal or change of bundles."""
        return self._identity.changes()

    async def fetch_jwt(self, audience: Sequence[str]) -> str:
        """A JWT-SVID from the CA. Raises `IssuanceError`."""
        return await self._issuer.sign_jwt(self.spiffe_id, self._pod_uid, audience)

    def now(self) -> datetime:
        """The time by which this source judges."""
        return self._clock()

    async def run(self) -> None:
        """Issue, then renew at half life and follow the bundles, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_bundles())
            tasks.create_task(self._renew_for_ever())

    async def _follow_bundles(self) -> None:
        async for bundles in self._bundles.changes():
            if (identity := self.current) is not None:
                self._identity.set(Identity(identity.svid, bundles))

    async def _renew_for_ever(self) -> None:
        failures = 0
        while True:
            try:
                svid = await self._issue()
            except (IssuanceError, InvalidSvidError) as error:
                failures += 1
                self._say_failed(error)
                await self._sleep(_backoff(failures, self._jitter))
                continue
            failures, self.failure = 0, None
            self._identity.set(Identity(svid, await self._bundles.get()))
            log.info("%s: SVID %s until %s", self.spiffe_id, svid.serial_hex, svid.validity.not_after)
            await self._sleep(LEAST_WAIT)
            await self._wait_until(renew_at(svid.validity, self._jitter), svid.validity)

    async def _issue(self) -> X509Svid:
        key = generate_key()
        chain = await self._issuer.sign(make_request(key), self.spiffe_id, self._pod_uid, self._lifetime)
        if not chain:
            raise InvalidSvidError("the CA answered with an empty chain")
        found = check_svid(chain[0])
        if found != self.spiffe_id:
            raise InvalidSvidError(f"expected an SVID of {self.spiffe_id}, found one of {found}")
        if chain[0].public_key() != key.public_key():
            raise InvalidSvidError("the CA answered with a certificate of another key")
        svid = X509Svid(found, chain, key)
        if not svid.validity.contains(self._clock()):
            raise InvalidSvidError(
                f"expected an SVID that is valid now, found one from {svid.validity.not_before} until "
                f"{svid.validity.not_after}; compare the clocks of this machine and of the CA's"
            )
        return svid

    def _say_failed(self, error: Exception) -> None:
        identity = self.current
        kept = (
            "there is none yet"
            if identity is None
            else f"the old one lasts until {identity.svid.validity.not_after}"
        )
        self.failure = str(error)
        log.warning("%s: no new SVID: %s; %s", self.spiffe_id, error, kept)

    async def _wait_until(self, due: datetime, validity: Validity) -> None:
        """Returns at once, too, when the clock was set to where the SVID is not valid yet."""
        while (left := (due - (now := self._clock())).total_seconds()) > 0 and validity.contains(now):
            await self._sleep(min(left, LONGEST_SLEEP))


def renew_at(validity: Validity, jitter: Callable[[], float]) -> datetime:
    """Half life, moved earlier or later by up to a tenth of it. `jitter` gives 0 to 1."""
    half = validity.lifetime / 2
    return validity.not_before + half * (1 + JITTER * (2 * jitter() - 1))


def _backoff(failures: int, jitter: Callable[[], float]) -> float:
    longest: float = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(failures - 1, 10))
    return longest * (0.5 + jitter() / 2)
