"""What one SDS stream wants and was sent, in both variants of xDS: requests in, responses out, no I/O."""

import hashlib
import logging
from collections.abc import Collection, Iterable
from typing import Any, Protocol

from envoy.service.discovery.v3 import discovery_pb2

from hauberk.identity.secret_messages import TYPE_URL, packed, secrets, version_of
from hauberk.identity.svid import Identity

log = logging.getLogger(__name__)


MOST_NAMES = 1000
LONGEST_NAME = 2048
"""Characters of a name: the longest SPIFFE ID (SPIFFE-ID, 2.3)."""


class TooManyNamesError(ValueError):
    """A stream wants more than anyone has, and would have it remembered."""


class Subscription(Protocol):
    """One stream."""

    def receive(self, request: Any) -> None:
        """Take in what the client asks for, acknowledges or refuses. Raises `TooManyNamesError`."""

    def response(self, identity: Identity) -> Any | None:
        """What the client has yet to be told, None if it knows all."""


class WorldSubscription:
    """State of the world: a response has everything that was asked for. No names mean all (xDS, wildcard)."""

    def __init__(self) -> None:
        self._names: frozenset[str] | None = None
        self._sent: dict[str, str] | None = None
        self._nonce = 0

    def receive(self, request: Any) -> None:
        _tell_refusal(request)
        names = frozenset(request.resource_names)
        _check(names)
        if names != self._names:
            self._names, self._sent = names, None

    def response(self, identity: Identity) -> Any | None:
        if self._names is None:
            return None
        offered = _named(identity, self._names)
        versions = {name: version_of(secret) for name, secret in offered.items()}
        if versions == self._sent:
            return None
        self._sent, self._nonce = versions, self._nonce + 1
        return world_response(identity, self._names, str(self._nonce))


_REMOVED = ""
"""The version of a name that the client was told we do not have."""


class DeltaSubscription:
    """Incremental: a response has what changed. A name that we do not have is told as removed, once."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._sent: dict[str, str] = {}
        self._nonce = 0

    def receive(self, request: Any) -> None:
        _tell_refusal(request)
        names = self._names | set(request.resource_names_subscribe)
        _check(names)
        self._names = names
        for name, version in request.initial_resource_versions.items():
            if name in names and 0 < len(version) <= LONGEST_NAME:
                self._sent[name] = version
        # Who asks again for what it has must be answered again (xDS, "Subscribing to resources").
        for name in {*request.resource_names_subscribe} - request.initial_resource_versions.keys():
            self._sent.pop(name, None)
        for name in request.resource_names_unsubscribe:
            self._names.discard(name)
            self._sent.pop(name, None)

    def response(self, identity: Identity) -> Any | None:
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=TYPE_URL)
        offered = secrets(identity)
        for name in sorted(self._names & offered.keys()):
            version = version_of(offered[name])
            if self._sent.get(name) != version:
                self._sent[name] = version
                response.resources.add(name=name, version=version, resource=packed(offered[name]))
        told = {name for name, version in self._sent.items() if version == _REMOVED}
        unknown = sorted(self._names - offered.keys() - told)
        response.removed_resources.extend(unknown)
        self._sent |= dict.fromkeys(unknown, _REMOVED)
        if not response.resources and not response.removed_resources:
            return None
        self._nonce += 1
        response.nonce = str(self._nonce)
        return response


def world_response(identity: Identity, names: Iterable[str], nonce: str) -> Any:
    """A `DiscoveryResponse` with the secrets of these names, all of them if there are none."""
    resources = [packed(each) for each in _named(identity, frozenset(names)).values()]
    version = hashlib.sha256(b"".join(each.value for each in resources)).hexdigest()[:16]
    return discovery_pb2.DiscoveryResponse(
        version_info=version, resources=resources, type_url=TYPE_URL, nonce=nonce
    )


def _named(identity: Identity, names: frozenset[str]) -> dict[str, Any]:
    return {name: secret for name, secret in secrets(identity).items() if not names or name in names}


def _check(names: Collection[str]) -> None:
    if len(names) > MOST_NAMES or any(len(name) > LONGEST_NAME for name in names):
        raise TooManyNamesError(
            f"expected at most {MOST_NAMES} names of at most {LONGEST_NAME} characters in one stream, "
            f"found {len(names)} of up to {max(map(len, names))} characters"
        )


def _tell_refusal(request: Any) -> None:
    if request.HasField("error_detail"):
        log.warning(
            "SDS: the proxy refused secrets (nonce %s): %s",
            request.response_nonce,
            request.error_detail.message,
        )
