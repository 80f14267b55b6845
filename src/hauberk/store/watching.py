"""The stream of a watch: one JSON document a change, with bookmarks in between."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from hauberk.model.kind import Kind, Object
from hauberk.store import status
from hauberk.store.selection import Selection, WatchType, watch_event
from hauberk.store.storage import Change, LaggingError, Stored, Watcher
from hauberk.store.tables import partial_metadata

BOOKMARK_SECONDS = 15.0
LEAST_SECONDS = 1800
"""A watch that names no end lives this long, up to twice, so that not all end at once."""

CHUNK_BYTES = 256 * 1024

Encode = Callable[[WatchType, Stored], bytes]


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What was asked for; `seconds` is 0 if no end was named."""

    kind: Kind
    selection: Selection
    bookmarks: bool
    seconds: int = 0
    metadata_version: str = ""
    """Of `meta.k8s.io`, where the watch is for metadata alone: its bookmarks are of that form, too."""


def encode_event(kind: Kind, type_: WatchType, stored: Stored) -> bytes:
    """`{"type": …, "object": …}`; the object's JSON is shared with every other watcher."""
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), stored.encoded(kind.api_version))


def encode_error(error: Exception) -> bytes:
    body = status.to_status(status.expired(str(error) or "the watcher did not keep up; list again"))
    return msgspec.json.encode({"type": "ERROR", "object": body}) + b"\n"


def encode_bookmark(request: WatchRequest, revision: int, annotations: dict[str, str] | None = None) -> bytes:
    metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    obj: Object = {"kind": request.kind.name, "apiVersion": request.kind.api_version, "metadata": metadata}
    if request.metadata_version:
        obj = partial_metadata(obj, request.metadata_version)
    return msgspec.json.encode({"type": "BOOKMARK", "object": obj}) + b"\n"


def _chunks(changes: Iterable[Change], selection: Selection, encode: Encode) -> Iterator[bytes]:
    """Events together, as far as that saves writes; a slow reader holds one chunk in memory, not all of them."""
    pending: list[bytes] = []
    size = 0
    for change in changes:
        event = watch_event(change, selection)
        if event is None:
            continue
        pending.append(encode(*event))
        size += len(pending[-1])
        if size >= CHUNK_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


async def stream(
    watcher: Watcher, request: WatchRequest, encode: Encode, current: Callable[[], int]
) -> AsyncIterator[bytes]:
    """Chunks of the stream until its time is over; a watcher that lagged gets an ERROR and the end."""
    loop = asyncio.get_running_loop()
    seconds = request.seconds or LEAST_SECONDS * random.uniform(1, 2)  # noqa: S311
    end = loop.time() + seconds
    bookmark_at = loop.time() + BOOKMARK_SECONDS
    while (now := loop.time()) < end:
        revision = current()
        try:
            changes = watcher.take()
        except LaggingError as error:
            yield encode_error(error)
            return
        for chunk in _chunks(changes, request.selection, encode):
            yield chunk
        if request.bookmarks and now >= bookmark_at:
            yield encode_bookmark(request, revision)
            bookmark_at = now + BOOKMARK_SECONDS
        if not watcher.waiting:
            wait = min(end, bookmark_at) - loop.time() if request.bookmarks else end - loop.time()
            try:
                async with asyncio.timeout(max(wait, 0)):
                    await watcher.wait()
            except TimeoutError:
                continue
