"""Events of pods (core/v1 Event), told once and never waited for."""

import asyncio
import logging
import secrets
from datetime import UTC, datetime

from hauberk.model.kind import Object
from hauberk.model.kinds import EVENT
from hauberk.store.client import ApiError, Client

log = logging.getLogger(__name__)


def now() -> str:
    """The time as the API writes it (RFC 3339, seconds, UTC)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class EventRecorder:
    """Sends events in order, in the background; one that the API refuses is only logged."""

    def __init__(self, client: Client, node: str) -> None:
        self._client = client
        self._node = node
        self._queue: asyncio.Queue[Object] = asyncio.Queue(1000)

    def tell(
        self, pod: Object, reason: str, message: str, *, warning: bool = False, container: str = ""
    ) -> None:
        """Something happened to a pod. With a thousand untold already, it is logged only."""
        metadata = pod["metadata"]
        path = {"fieldPath": f"spec.containers{{{container}}}"} if container else {}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name']}.{secrets.token_hex(8)}",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                **path,
            },
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "message": message,
            "source": {"component": "hauberk-node", "host": self._node},
            "reportingComponent": "hauberk-node",
            "reportingInstance": self._node,
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
        }
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("event not told: %s %s: %s", metadata["name"], reason, message)

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._client.create(EVENT, event)
            except ApiError as error:
                log.info(
                    "event %s of %s: %s", event["reason"], event["involvedObject"]["name"], error.message
                )
