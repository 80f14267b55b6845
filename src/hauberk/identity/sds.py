"""Envoy's Secret Discovery Service for one workload: `default`, `ROOTCA`, `ALL`."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_spiffe_validator_config_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.secret.v3 import sds_pb2_grpc
from google.protobuf import any_pb2

from hauberk.identity.bundle import TrustBundles
from hauberk.identity.svid import Identity, SvidSource, X509Svid

TYPE_URL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
OWN = "default"
"""The workload's chain and key."""
OWN_BUNDLE = "ROOTCA"
"""The bundle of its own trust domain."""
ALL_BUNDLES = "ALL"
"""All bundles, each for its own trust domain only (`envoy.tls.cert_validator.spiffe`)."""


def secrets(svid: X509Svid, bundles: TrustBundles) -> dict[str, Any]:
    """The `Secret` messages by name."""
    return {
        OWN: secret_pb2.Secret(
            name=OWN,
            tls_certificate=common_pb2.TlsCertificate(
                certificate_chain=_inline(svid.chain_pem), private_key=_inline(svid.key_pem())
            ),
        ),
        OWN_BUNDLE: secret_pb2.Secret(
            name=OWN_BUNDLE,
            validation_context=common_pb2.CertificateValidationContext(trusted_ca=_inline(bundles.own.pem)),
        ),
        ALL_BUNDLES: secret_pb2.Secret(name=ALL_BUNDLES, validation_context=_all_bundles(bundles)),
    }


def secret_resources(svid: X509Svid, bundles: TrustBundles, names: Iterable[str] = ()) -> list[Any]:
    """Secrets wrapped in `Any`, as discovery responses carry them: those named, or all."""
    wanted = set(names) or {OWN, OWN_BUNDLE, ALL_BUNDLES}
    return [_wrapped(each) for name, each in secrets(svid, bundles).items() if name in wanted]


def version_of(secret: Any) -> str:
    """A version that changes with the secret's content and says nothing of it."""
    return hashlib.sha256(secret.SerializeToString(deterministic=True)).hexdigest()[:16]


class SecretDiscovery(sds_pb2_grpc.SecretDiscoveryServiceServicer):  # type: ignore[misc]
    """Pushes the secrets that a stream subscribes to, and again whenever they change."""

    def __init__(self, source: SvidSource) -> None:
        self._source = source

    async def FetchSecrets(self, request: Any, context: Any) -> Any:  # noqa: N802
        identity = self._source.current
        if identity is None:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, self._source.failure or "no SVID has been issued yet"
            )
            raise AssertionError("abort always raises")
        return _response(identity, request.resource_names, nonce="")

    async def StreamSecrets(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        wanted: frozenset[str] | None = None
        sent: dict[str, str] | None = None
        nonce = 0
        async for event in _merged(requests, self._source):
            if not isinstance(event, Identity):
                names = frozenset(event.resource_names)
                if names != wanted:
                    wanted, sent = names, None
            identity = self._source.current
            if wanted is None or identity is None:
                continue
            versions = _versions(identity, wanted or None)
            if versions != sent:
                sent, nonce = versions, nonce + 1
                yield _response(identity, wanted, str(nonce))

    async def DeltaSecrets(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        wanted: set[str] = set()
        sent: dict[str, str] = {}
        nonce = 0
        async for event in _merged(requests, self._source):
            if not isinstance(event, Identity):
                sent |= dict(event.initial_resource_versions)
                wanted |= set(event.resource_names_subscribe)
                wanted -= set(event.resource_names_unsubscribe)
                for name in event.resource_names_unsubscribe:
                    sent.pop(name, None)
            identity = self._source.current
            if identity is None:
                continue
            response = discovery_pb2.DeltaDiscoveryResponse(type_url=TYPE_URL)
            offered = secrets(identity.svid, identity.bundles)
            for name in sorted(wanted & offered.keys()):
                version = version_of(offered[name])
                if sent.get(name) != version:
                    sent[name] = version
                    response.resources.add(name=name, version=version, resource=_wrapped(offered[name]))
            unknown = sorted(wanted - offered.keys() - sent.keys())
            response.removed_resources.extend(unknown)
            sent |= dict.fromkeys(unknown, "")
            if response.resources or response.removed_resources:
                nonce += 1
                response.nonce = str(nonce)
                yield response


async def _merged(requests: Any, source: SvidSource) -> AsyncIterator[Any]:
    """Requests of the stream and changes of the identity, as they come, until the requests end."""
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=16)

    async def read_requests() -> None:
        async for request in requests:
            await queue.put(request)
        await queue.put(None)

    async def read_changes() -> None:
        async for identity in source.changes():
            await queue.put(identity)

    readers = [asyncio.ensure_future(read_requests()), asyncio.ensure_future(read_changes())]
    try:
        while (event := await queue.get()) is not None:
            yield event
    finally:
        for reader in readers:
            reader.cancel()


def _response(identity: Identity, names: Iterable[str], nonce: str) -> Any:
    resources = secret_resources(identity.svid, identity.bundles, names)
    version = hashlib.sha256(b"".join(each.value for each in resources)).hexdigest()[:16]
    return discovery_pb2.DiscoveryResponse(
        version_info=version, resources=resources, type_url=TYPE_URL, nonce=nonce
    )


def _versions(identity: Identity, names: frozenset[str] | None) -> dict[str, str]:
    offered = secrets(identity.svid, identity.bundles)
    return {name: version_of(each) for name, each in offered.items() if names is None or name in names}


def _all_bundles(bundles: TrustBundles) -> Any:
    config = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig(
        trust_domains=[
            {"name": str(each.trust_domain), "trust_bundle": _inline(each.pem)}
            for each in (bundles.own, *bundles.federated)
        ]
    )
    packed = any_pb2.Any()
    packed.Pack(config)
    return common_pb2.CertificateValidationContext(
        custom_validator_config={"name": "envoy.tls.cert_validator.spiffe", "typed_config": packed}
    )


def _inline(content: bytes) -> Any:
    return base_pb2.DataSource(inline_bytes=content)


def _wrapped(secret: Any) -> Any:
    packed = any_pb2.Any()
    packed.Pack(secret, deterministic=True)
    return packed
