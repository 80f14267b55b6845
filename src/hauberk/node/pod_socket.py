"""A Unix socket that serves one pod only: the peer is known by the kernel, then its bytes are passed on."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from hauberk.node.peer_process import peer_process

log = logging.getLogger(__name__)

CHUNK = 65_536


class PodSocket:
    """Listens at `path` for processes that live in `namespace`, and connects each to the service behind.

    `behind` is a Unix socket in a folder that only the node may enter: a gRPC server for this pod alone.
    """

    def __init__(
        self, path: Path, namespace: Path, behind: Path, prepare: Callable[[Path], None] | None = None
    ) -> None:
        self._path = path
        self._namespace = namespace
        self._behind = behind
        self._prepare = prepare
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, path=str(self._path))
        # Whoever may see the file may connect: the namespace decides who is served.
        self._path.chmod(0o666)
        if self._prepare is not None:
            self._prepare(self._path)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        try:
            with peer_process(writer.get_extra_info("socket")) as peer:
                if not peer.lives_in(self._namespace):
                    log.warning(
                        "%s: refused process %d, which does not live in this pod's namespace",
                        self._path,
                        peer.pid,
                    )
                    return
            await splice(reader, writer, *await asyncio.open_unix_connection(str(self._behind)))
        except OSError as error:
            log.debug("%s: connection ended: %s", self._path, error)
        except asyncio.CancelledError:
            # asyncio's stream server (Python 3.11) asks a cancelled task for its exception, and prints what comes.
            log.debug("%s: connection ended: the socket is being closed", self._path)
        finally:
            self._connections = {each for each in self._connections if each is not task}
            writer.close()


async def splice(
    one_reader: asyncio.StreamReader,
    one_writer: asyncio.StreamWriter,
    other_reader: asyncio.StreamReader,
    other_writer: asyncio.StreamWriter,
) -> None:
    """Passes bytes both ways until both sides have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass(one_reader, other_writer))
            group.create_task(_pass(other_reader, one_writer))
    except* OSError as group_error:
        log.debug("connection broke: %s", group_error.exceptions[0])
    finally:
        one_writer.close()
        other_writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
