"""A cache of one kind's objects, kept in step by list and watch."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

from hauberk import fault
from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError, Client, Event

LEAST_WAIT = 0.1
MOST_WAIT = 10.0
PAGE = 500

Subscriber = Callable[[Event], None]

log = logging.getLogger(__name__)


class Informer:
    """Run it in a task; read `cache` once `synced` is set.

    Subscribers hear ADDED, MODIFIED and DELETED after the cache has changed; after a relist only of what
    differs. Objects are shared: copy before changing.
    """

    def __init__(
        self,
        client: Client,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self._objects: dict[tuple[str, str], Object] = {}
        self.cache: Mapping[tuple[str, str], Object] = MappingProxyType(self._objects)
        """By namespace (empty for cluster scope) and name."""
        self._client = client
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._subscribers: list[Subscriber] = []
        self._version = ""

    def subscribe(self, subscriber: Subscriber) -> None:
        """Hear each change; of what is cached already as ADDED, at once."""
        self._subscribers.append(subscriber)
        for obj in list(self._objects.values()):
            self._let_hear(subscriber, Event("ADDED", obj))

    async def run(self) -> None:
        """Follow until cancelled. Waits between failures, longer each time, with jitter."""
        wait = LEAST_WAIT
        while True:
            try:
                if not self._version:
                    await self._list()
                async for event in self._client.watch(
                    self.kind,
                    self._namespace,
                    resource_version=self._version,
                    label_selector=self._label_selector,
                    field_selector=self._field_selector,
                ):
                    wait = LEAST_WAIT
                    self._see(event)
            except ApiError as error:
                if error.code == 410:
                    self._version = ""
            except (OSError, TimeoutError):
                pass  # the server is away; what is cached still holds
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
            wait = min(wait * 2, MOST_WAIT)

    async def _list(self) -> None:
        found: dict[tuple[str, str], Object] = {}
        token = ""
        while True:
            page = await self._client.list(
                self.kind,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=PAGE,
                continue_token=token,
            )
            found.update((_key(obj), obj) for obj in page.items)
            token = page.continue_token
            if not token:
                break
        for key in [key for key in self._objects if key not in found]:
            self._tell(Event("DELETED", self._objects.pop(key)))
        for key, obj in found.items():
            old = self._objects.get(key)
            if old is None or old["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                self._objects[key] = obj
                self._tell(Event("ADDED" if old is None else "MODIFIED", obj))
        self._version = page.resource_version
        self.synced.set()

    def _see(self, event: Event) -> None:
        self._version = event.object["metadata"]["resourceVersion"]
        if event.type == "BOOKMARK":
            return
        if event.type == "DELETED":
            self._objects.pop(_key(event.object), None)
        else:
            self._objects[_key(event.object)] = event.object
        self._tell(event)

    def _tell(self, event: Event) -> None:
        for subscriber in list(self._subscribers):
            self._let_hear(subscriber, event)

    def _let_hear(self, subscriber: Subscriber, event: Event) -> None:
        try:
            subscriber(event)
        except Exception as error:  # noqa: BLE001 - docs/decisions/0006: one object does not end the daemon
            name = "/".join(filter(None, (self.kind.plural, *_key(event.object))))
            log.error("informer: %s %s: fault: %s", event.type, name, fault.described(error))


def _key(obj: Object) -> tuple[str, str]:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
