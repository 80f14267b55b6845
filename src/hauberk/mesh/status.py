"""What each proxy was sent, has, and refused: the facts behind `hauberk proxy-status`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from hauberk.mesh.proxy import Proxy
from hauberk.mesh.serialization import SHORT_NAMES, TYPES
from hauberk.mesh.subscription import Stream, TypeState


class Agreement(Enum):
    """Whether a proxy has what it was sent."""

    SYNCED = "SYNCED"
    STALE = "STALE"
    """Sent, not answered yet."""
    NACK = "NACK"
    NOT_SENT = "NOT SENT"


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type of one proxy. Versions are the stream's own counters."""

    type: str
    agreement: str
    resources: int
    sent: str
    acknowledged: str
    rejected: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """One connected proxy."""

    proxy: str
    namespace: str
    name: str
    kind: str
    connected_at: float
    """Seconds since the epoch."""
    protocol: str
    """`delta` or `state of the world`."""
    types: tuple[TypeStatus, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def proxy_status(proxy: Proxy, stream: Stream, connected_at: float, protocol: str) -> ProxyStatus:
    return ProxyStatus(
        proxy=proxy.id,
        namespace=proxy.namespace,
        name=proxy.name,
        kind=proxy.kind.value,
        connected_at=connected_at,
        protocol=protocol,
        types=tuple(_type_status(stream.types[one]) for one in TYPES if one in stream.types),
    )


def _type_status(state: TypeState) -> TypeStatus:
    if state.rejection:
        agreement = Agreement.NACK
    elif not state.answered:
        agreement = Agreement.NOT_SENT
    elif state.awaiting:
        agreement = Agreement.STALE
    else:
        agreement = Agreement.SYNCED
    return TypeStatus(
        type=SHORT_NAMES[state.type_url],
        agreement=agreement.value,
        resources=sum(1 for _ in state.wanted(state.sent)) if state.sent else 0,
        sent=state.sent_version,
        acknowledged=state.acknowledged_version,
        rejected=state.rejected_version,
        reason=state.rejection,
    )
