"""TLS of a client's proxy toward a destination (Istio, `trafficPolicy.tls`), and the Secrets that it shows and trusts.

A destination that asks for what its callers' proxies do not have is not reached: to call it without, in plain text or
without a check, would be worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from hauberk.mesh import tls
from hauberk.mesh.credentials import key_pair_name, key_pair_secret, trust_name, trust_secret
from hauberk.mesh.facts import Key
from hauberk.model.credential import Credential


class TlsMode(Enum):
    """How a client's proxy connects (`trafficPolicy.tls.mode`)."""

    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """The Secrets of the caller's namespace that its proxy may use."""

    namespace: str = ""
    held: tuple[tuple[str, Credential], ...] = ()
    """By name."""

    def named(self, name: str) -> Iterator[tuple[Key, Credential]]:
        """`NAME-cacert`, which says whom to trust, and the Secret itself."""
        for wanted in (f"{name}-cacert", name):
            for held, credential in self.held:
                if held == wanted:
                    yield (self.namespace, held), credential


NO_CREDENTIALS = ClientCredentials()


def secret_names(credential_name: str) -> tuple[str, str]:
    """The Secrets that a `credentialName` may mean."""
    return credential_name, f"{credential_name}-cacert"


@dataclass(frozen=True, slots=True)
class _Found:
    """What there is of what was asked for."""

    shown: tuple[Key, Credential] | None
    trusted: tuple[Key, Credential] | None


@dataclass(frozen=True, slots=True)
class ClientTls:
    """`trafficPolicy.tls`."""

    mode: TlsMode = TlsMode.ISTIO_MUTUAL
    sni: str = ""
    subject_alt_names: tuple[str, ...] = ()
    credential: str = ""
    verifies: bool = True
    """Not told to skip that (`insecureSkipVerify`)."""
    files: bool = False
    """It names files: a gate holds none."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> ClientTls:
        own = ("clientCertificate", "privateKey", "caCrl")
        verifies = not told.get("insecureSkipVerify")
        return cls(
            mode=TlsMode(told.get("mode", "ISTIO_MUTUAL")),
            sni=told.get("sni") or "",
            subject_alt_names=tuple(told.get("subjectAltNames") or ()),
            credential=told.get("credentialName") or "",
            verifies=verifies,
            files=any(told.get(name) for name in own) or bool(verifies and told.get("caCertificates")),
        )

    @property
    def leaves_the_mesh(self) -> bool:
        return self.mode in (TlsMode.SIMPLE, TlsMode.MUTUAL)

    def available(self, credentials: ClientCredentials) -> bool:
        """Whether all is there that it asks for."""
        if not self.leaves_the_mesh:
            return True
        found = self._found(credentials)
        if self.files or (self.mode is TlsMode.MUTUAL and found.shown is None):
            return False
        asks = bool(self.credential or self.subject_alt_names)
        return not self.verifies or not asks or found.trusted is not None

    def secrets(self, credentials: ClientCredentials) -> Iterator[secret_pb2.Secret]:
        """The SDS resources that its socket names."""
        if not self.leaves_the_mesh:
            return
        found = self._found(credentials)
        if found.shown is not None and found.shown[1].key_pair is not None:
            yield key_pair_secret(key_pair_name(found.shown[0]), found.shown[1].key_pair)
        if found.trusted is not None:
            yield trust_secret(trust_name(found.trusted[0]), found.trusted[1].trusted)

    def socket(self, credentials: ClientCredentials = NO_CREDENTIALS) -> base_pb2.TransportSocket:
        """TLS that the mesh does not own. Without certificates to trust it proves nothing of the server."""
        found = self._found(credentials)
        common = tls_pb2.CommonTlsContext()
        common.SetInParent()
        if found.shown is not None:
            common.tls_certificate_sds_secret_configs.append(tls.ads_secret(key_pair_name(found.shown[0])))
        if found.trusted is not None:
            combined = common.combined_validation_context
            combined.validation_context_sds_secret_config.CopyFrom(
                tls.ads_secret(trust_name(found.trusted[0]))
            )
            combined.default_validation_context.match_typed_subject_alt_names.extend(self._names())
        context = tls_pb2.UpstreamTlsContext(common_tls_context=common, sni=self.sni)
        return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=tls.packed(context))

    def _found(self, credentials: ClientCredentials) -> _Found:
        named = list(credentials.named(self.credential)) if self.credential else []
        shown = next(
            (one for one in named if one[0][1] == self.credential and one[1].key_pair is not None), None
        )
        trusted = next((one for one in named if one[1].trusted), None)
        return _Found(
            shown if self.mode is TlsMode.MUTUAL else None,
            trusted if self.verifies else None,
        )

    def _names(self) -> Iterator[common_pb2.SubjectAltNameMatcher]:
        for name in self.subject_alt_names:
            kind = "URI" if "://" in name else "DNS"
            yield common_pb2.SubjectAltNameMatcher(
                san_type=kind, matcher=string_pb2.StringMatcher(exact=name)
            )
