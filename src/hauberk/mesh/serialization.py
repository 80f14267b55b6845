"""A resource is serialized once; its bytes are shared by every stream that sends it.

The wire format here is that of `envoy.service.discovery.v3`: responses are put together from bytes that
already lie ready, so that a push to a thousand streams encodes nothing a thousand times.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_PREFIX = "type.googleapis.com/"

LISTENER = f"{_PREFIX}envoy.config.listener.v3.Listener"
ROUTE = f"{_PREFIX}envoy.config.route.v3.RouteConfiguration"
CLUSTER = f"{_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINT = f"{_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = f"{_PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret"

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET)
"""In the order in which a stream hears of them: what is referred to comes before what refers to it."""

SHORT_NAMES = {CLUSTER: "CDS", ENDPOINT: "EDS", LISTENER: "LDS", ROUTE: "RDS", SECRET: "SDS"}


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Resource:
    """One serialized resource. `any` is the encoded `google.protobuf.Any`; `version` a hash of its content."""

    name: str
    type_url: str
    any: bytes
    version: str


def serialize(name: str, message: Any) -> Resource:
    """Encode a protobuf message, with map keys in order, so that equal content has an equal version."""
    type_url = _PREFIX + message.DESCRIPTOR.full_name
    value = message.SerializeToString(deterministic=True)
    encoded = _field(1, type_url.encode()) + _field(2, value)
    return Resource(name, type_url, encoded, hashlib.blake2b(value, digest_size=8).hexdigest())


def state_of_the_world_response(
    type_url: str, resources: Iterable[Resource], version: str, nonce: str
) -> bytes:
    """An encoded `DiscoveryResponse`."""
    parts = [_field(1, version.encode())]
    parts += [_field(2, resource.any) for resource in resources]
    parts += [_field(4, type_url.encode()), _field(5, nonce.encode())]
    return b"".join(parts)


def delta_response(type_url: str, updated: Iterable[Resource], removed: Iterable[str], nonce: str) -> bytes:
    """An encoded `DeltaDiscoveryResponse`."""
    parts = []
    for resource in updated:
        body = (
            _field(1, resource.version.encode()) + _field(2, resource.any) + _field(3, resource.name.encode())
        )
        parts.append(_field(2, body))
    parts += [_field(4, type_url.encode()), _field(5, nonce.encode())]
    parts += [_field(6, name.encode()) for name in removed]
    return b"".join(parts)


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field (Protocol Buffers, "Encoding")."""
    return bytes((number << 3 | 2,)) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
