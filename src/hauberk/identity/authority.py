"""The certificate authority: a root kept apart, issuing intermediates, and their overlapping rotation."""

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509

from hauberk.identity import authority_state, rotation
from hauberk.identity.authority_state import AuthorityState
from hauberk.identity.bundle import TrustBundle, TrustBundles, chain_pem
from hauberk.identity.certificate import (
    API,
    WORKLOADS,
    Clock,
    PublicKey,
    RandomBytes,
    Signer,
    Validity,
    generate_key,
    make_api_client,
    make_api_server,
    make_intermediate,
    make_root,
    make_svid,
    random_serial,
    read_request,
)
from hauberk.identity.durable import write_durably
from hauberk.identity.jwt_svid import JwtKey, sign_jwt_svid
from hauberk.identity.rotation import Succession
from hauberk.identity.spiffe_id import SpiffeId, TrustDomain
from hauberk.identity.watched import Watched
from hauberk.store.encryption import Sealer, SealError

log = logging.getLogger(__name__)

STATE_CONTEXT = b"ca/authority"
LONGEST_SLEEP = timedelta(minutes=1)
"""So that a clock that was stepped is noticed."""


class AuthorityError(Exception):
    """The CA cannot do what was asked; the message says why and what to do."""


class RootKeyAbsentError(AuthorityError):
    """The root's key is not in STATE/root, where it may be taken from, and is needed now."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long each kind of credential lives."""

    root: timedelta = timedelta(days=3650)
    intermediate: timedelta = timedelta(days=90)
    jwt_key: timedelta = timedelta(days=30)
    svid: timedelta = timedelta(hours=1)
    jwt_svid: timedelta = timedelta(minutes=5)
    api_client: timedelta = timedelta(days=365)
    api_server: timedelta = timedelta(days=30)


DEFAULT_LIFETIMES = Lifetimes()


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and the intermediate that signed it, leaf first."""

    chain: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def pem(self) -> bytes:
        return chain_pem(self.chain)


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


class CertificateAuthority:
    """Signs for one trust domain. Every change is on disk before anything is signed with it."""

    def __init__(
        self,
        state: AuthorityState,
        state_dir: Path,
        key: Sealer,
        clock: Clock,
        random_bytes: RandomBytes,
        lifetimes: Lifetimes,
    ) -> None:
        self._state = state
        self._state_dir = state_dir
        self._key = key
        self._clock = clock
        self._random_bytes = random_bytes
        self._lifetimes = lifetimes
        self.warning: str | None = None
        """What a person must do for the CA to go on, None if nothing."""
        self.watched_bundles: Watched[TrustBundles] = Watched(state.bundles)
        """Followed by whoever hands bundles on."""

    @classmethod
    def open(
        cls,
        state_dir: Path,
        key: Sealer,
        clock: Clock = utc_now,
        *,
        trust_domain: TrustDomain,
        random_bytes: RandomBytes = os.urandom,
        lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    ) -> Self:
        """Open the CA in `state_dir` (STATE), or make a new one where there is none.

        Raises:
            AuthorityError: it is of another trust domain, or does not open under `key`.
        """
        for folder in (state_dir / "ca", state_dir / "root"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = _state_path(state_dir)
        if not path.exists():
            state = _create(state_dir, key, trust_domain, clock(), random_bytes, lifetimes)
            authority = cls(state, state_dir, key, clock, random_bytes, lifetimes)
            authority._persist(state)
        else:
            state, newest = _read(path, key)
            if state.trust_domain != trust_domain:
                raise AuthorityError(
                    f"{path}: expected the trust domain {trust_domain}, found {state.trust_domain}; start with "
                    f"--trust-domain {state.trust_domain}, or with an empty state folder"
                )
            authority = cls(state, state_dir, key, clock, random_bytes, lifetimes)
            if not newest:
                authority._persist(state)
        authority._reseal_root_keys()
        authority.rotate()
        return authority

    @property
    def trust_domain(self) -> TrustDomain:
        return self._state.trust_domain

    @property
    def absent_root_keys(self) -> tuple[Path, ...]:
        """Where root keys belong that are not there now, so that nothing can be done with or to them."""
        paths = [_root_key_path(self._state_dir, each) for each in self._state.roots.all]
        return tuple(path for path in paths if not path.exists())

    @property
    def bundles(self) -> TrustBundles:
        """What verifiers are to trust now."""
        return self._state.bundles

    @property
    def roots_pem(self) -> bytes:
        """The roots, for a kubeconfig's `certificate-authority-data` and for TLS."""
        return self.bundles.own.pem

    def sign_workload(self, csr_pem: bytes, spiffe_id: SpiffeId, ttl: timedelta | None = None) -> Issued:
        """An X.509-SVID. Names in the request are ignored; `ttl` is capped by the CA's own and the issuer's end.

        Raises:
            RefusedRequestError: the request cannot be signed.
            AuthorityError: the ID is of another trust domain, or no intermediate is valid now.
        """
        self._require_own(spiffe_id)
        self.rotate()
        issuer = self._valid(self._state.svid.current)
        lifetime = self._lifetimes.svid if ttl is None else min(ttl, self._lifetimes.svid)
        leaf = make_svid(
            issuer, read_request(csr_pem), spiffe_id, self._validity(issuer, lifetime), self._serial()
        )
        return Issued((leaf, issuer.certificate))

    def sign_api_client(
        self,
        key: bytes | PublicKey,
        common_name: str,
        organizations: Sequence[str] = (),
        ttl: timedelta | None = None,
    ) -> Issued:
        """A client certificate for the API, for a signing request in PEM or a public key."""
        self.rotate()
        issuer = self._valid(self._state.api.current)
        public_key = read_request(key) if isinstance(key, bytes) else key
        validity = self._validity(issuer, ttl or self._lifetimes.api_client)
        return Issued(
            (
                make_api_client(issuer, public_key, common_name, organizations, validity, self._serial()),
                issuer.certificate,
            )
        )

    def sign_api_server(
        self, key: bytes | PublicKey, names: Sequence[str], ttl: timedelta | None = None
    ) -> Issued:
        """A serving certificate of the API or of a node, for DNS names and IP addresses."""
        self.rotate()
        issuer = self._valid(self._state.api.current)
        public_key = read_request(key) if isinstance(key, bytes) else key
        validity = self._validity(issuer, ttl or self._lifetimes.api_server)
        return Issued(
            (make_api_server(issuer, public_key, names, validity, self._serial()), issuer.certificate)
        )

    def sign_jwt(self, spiffe_id: SpiffeId, audience: Sequence[str]) -> str:
        """A JWT-SVID. Raises `ValueError` without an audience, `AuthorityError` for another trust domain."""
        self._require_own(spiffe_id)
        self.rotate()
        key, now = self._state.jwt.current, self._clock()
        validity = Validity.starting(now, self._lifetimes.jwt_svid, until=key.validity.not_after)
        return sign_jwt_svid(key, spiffe_id, audience, Validity(now, validity.not_after))

    def federate(self, bundle: TrustBundle) -> None:
        """Trust another trust domain's bundle, in place of what was known of it."""
        if bundle.trust_domain == self.trust_domain:
            raise AuthorityError(
                f"{bundle.trust_domain} is this CA's own trust domain; it has its bundle already"
            )
        others = tuple(each for each in self._state.federated if each.trust_domain != bundle.trust_domain)
        self._adopt(replace(self._state, federated=(*others, bundle)))

    def unfederate(self, trust_domain: TrustDomain) -> None:
        """Trust it no longer; nothing happens if it was not trusted."""
        others = tuple(each for each in self._state.federated if each.trust_domain != trust_domain)
        self._adopt(replace(self._state, federated=others))

    def rotate(self) -> datetime:
        """Do all that is due now, and say when something is due next.

        A root's key that was taken away stops nothing until an intermediate is due; then `warning` asks for it,
        and the CA goes on with what it has.
        """
        now = self._clock()
        warning = None
        state = replace(self._state, jwt=self._advance_jwt(now))
        try:
            state = replace(state, roots=self._advance_roots(state, now))
            state = replace(
                state,
                svid=self._advance_intermediate(state, state.svid, WORKLOADS, now),
                api=self._advance_intermediate(state, state.api, API, now),
            )
        except RootKeyAbsentError as error:
            warning = str(error)
        if warning is not None and warning != self.warning:
            log.warning("%s", warning)
        self.warning = warning
        self._adopt(state)
        return min(
            rotation.next_due(self._state.roots, rotation.ROOT, Validity.of),
            rotation.next_due(self._state.svid, rotation.INTERMEDIATE, _signer_validity),
            rotation.next_due(self._state.api, rotation.INTERMEDIATE, _signer_validity),
            rotation.next_due(self._state.jwt, rotation.INTERMEDIATE, _jwt_validity),
        )

    async def run(self) -> None:
        """Rotate whenever it is due, until cancelled."""
        while True:
            due = self.rotate()
            wait = max(timedelta(seconds=1), min(due - self._clock(), LONGEST_SLEEP))
            await asyncio.sleep(wait.total_seconds())

    def _advance_roots(self, state: AuthorityState, now: datetime) -> Succession[x509.Certificate]:
        def make() -> x509.Certificate:
            root = make_root(state.trust_domain, Validity.starting(now, self._lifetimes.root), self._serial())
            _write_root_key(self._state_dir, self._key, root)
            return root.certificate

        return rotation.advance(state.roots, now, rotation.ROOT, Validity.of, make)

    def _advance_intermediate(
        self, state: AuthorityState, line: Succession[Signer], purpose: str, now: datetime
    ) -> Succession[Signer]:
        def make() -> Signer:
            root = _read_root(self._state_dir, self._key, state.roots.current)
            validity = self._validity(root, self._lifetimes.intermediate)
            return make_intermediate(root, purpose, state.trust_domain, validity, self._serial())

        advanced = rotation.advance(line, now, rotation.INTERMEDIATE, _signer_validity, make)
        # A retired intermediate signs nothing and is sent along by those it signed: only its key could be lost.
        return replace(advanced, retired=())

    def _advance_jwt(self, now: datetime) -> Succession[JwtKey]:
        def make() -> JwtKey:
            return _make_jwt_key(now, self._lifetimes, self._random_bytes)

        return rotation.advance(self._state.jwt, now, rotation.INTERMEDIATE, _jwt_validity, make)

    def _valid(self, issuer: Signer) -> Signer:
        if not Validity.of(issuer.certificate).contains(self._clock()):
            raise AuthorityError(
                f"the issuing intermediate is not valid now: {self.warning or 'check the clock of this machine'}"
            )
        return issuer

    def _adopt(self, state: AuthorityState) -> None:
        if state == self._state:
            return
        if _trusted(state) != _trusted(self._state):
            state = state.with_next_sequence()
        self._persist(state)
        self._state = state
        self.watched_bundles.set(state.bundles)

    def _persist(self, state: AuthorityState) -> None:
        sealed = self._key.seal(authority_state.encode(state), STATE_CONTEXT)
        write_durably(_state_path(self._state_dir), sealed)
        write_durably(self._state_dir / "ca" / "roots.pem", state.bundles.own.pem, 0o644)
        write_durably(self._state_dir / "ca" / "bundle.json", state.bundles.own.jwks(), 0o644)

    def _reseal_root_keys(self) -> None:
        """Under the newest key, as all else; a root's key that was taken away stays as it is."""
        for certificate in self._state.roots.all:
            path = _root_key_path(self._state_dir, certificate)
            if path.exists():
                sealed = path.read_bytes()
                try:
                    resealed = self._key.reseal(sealed, _root_context(certificate))
                except SealError as error:
                    raise AuthorityError(f"{path}: {error}") from error
                if resealed != sealed:
                    write_durably(path, resealed)

    def _require_own(self, spiffe_id: SpiffeId) -> None:
        if spiffe_id.trust_domain != self.trust_domain or not spiffe_id.path:
            raise AuthorityError(f"expected the ID of a workload in {self.trust_domain}, found {spiffe_id}")

    def _validity(self, issuer: Signer, lifetime: timedelta) -> Validity:
        return Validity.starting(self._clock(), lifetime, until=issuer.certificate.not_valid_after_utc)

    def _serial(self) -> int:
        return random_serial(self._random_bytes)


def _state_path(state_dir: Path) -> Path:
    return state_dir / "ca" / "authority.sealed"


def _root_key_path(state_dir: Path, certificate: x509.Certificate) -> Path:
    return state_dir / "root" / f"{certificate.serial_number:x}.key.sealed"


def _create(
    state_dir: Path,
    key: Sealer,
    trust_domain: TrustDomain,
    now: datetime,
    random_bytes: RandomBytes,
    lifetimes: Lifetimes,
) -> AuthorityState:
    root = make_root(trust_domain, Validity.starting(now, lifetimes.root), random_serial(random_bytes))
    _write_root_key(state_dir, key, root)
    validity = Validity.starting(now, lifetimes.intermediate, until=root.certificate.not_valid_after_utc)
    svid, api = (
        make_intermediate(root, purpose, trust_domain, validity, random_serial(random_bytes))
        for purpose in (WORKLOADS, API)
    )
    return AuthorityState(
        trust_domain,
        Succession(root.certificate),
        Succession(svid),
        Succession(api),
        Succession(_make_jwt_key(now, lifetimes, random_bytes)),
    )


def _make_jwt_key(now: datetime, lifetimes: Lifetimes, random_bytes: RandomBytes) -> JwtKey:
    return JwtKey(random_bytes(16).hex(), generate_key(), Validity.starting(now, lifetimes.jwt_key))


def _read(path: Path, key: Sealer) -> tuple[AuthorityState, bool]:
    sealed = path.read_bytes()
    try:
        return authority_state.decode(key.open(sealed, STATE_CONTEXT)), key.is_newest(sealed)
    except (SealError, ValueError) as error:
        raise AuthorityError(f"{path}: {error}") from error


def _write_root_key(state_dir: Path, key: Sealer, root: Signer) -> None:
    path = _root_key_path(state_dir, root.certificate)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_durably(path, key.seal(authority_state.encode_key(root.key), _root_context(root.certificate)))


def _read_root(state_dir: Path, key: Sealer, certificate: x509.Certificate) -> Signer:
    path = _root_key_path(state_dir, certificate)
    try:
        sealed = path.read_bytes()
    except FileNotFoundError as error:
        raise RootKeyAbsentError(
            f"a new issuing intermediate is due and the root's key is not at {path}: bring it back there"
        ) from error
    try:
        return Signer(certificate, authority_state.decode_key(key.open(sealed, _root_context(certificate))))
    except (SealError, ValueError) as error:
        raise AuthorityError(f"{path}: {error}") from error


def _root_context(certificate: x509.Certificate) -> bytes:
    return f"root/{certificate.serial_number:x}".encode()


def _signer_validity(signer: Signer) -> Validity:
    return Validity.of(signer.certificate)


def _jwt_validity(key: JwtKey) -> Validity:
    return key.validity


def _trusted(state: AuthorityState) -> object:
    return state.roots.all, sorted(each.key_id for each in state.jwt.all), state.federated
