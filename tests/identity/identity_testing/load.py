"""Programs behind the proxies, and callers that notice every failure."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

PAUSE_SECONDS = 0.05
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def http_program() -> AsyncIterator[int]:
    """Answers every request with 200; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with _served(serve) as port:
        yield port


@asynccontextmanager
async def echo_program() -> AsyncIterator[int]:
    """Says back every line; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async with _served(serve) as port:
        yield port


@asynccontextmanager
async def _served(serve) -> AsyncIterator[int]:  # type: ignore[no-untyped-def]
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


@dataclass
class Calls:
    """What became of the calls of one caller."""

    done: int = 0
    failures: list[str] = field(default_factory=list)

    async def request_for_ever(self, port: int) -> None:
        """One HTTP request after another, on connections that are kept."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/") as answer:
                        body = await answer.text()
                        if answer.status == 200:
                            self.done += 1
                        else:
                            self.failures.append(f"{answer.status} {body}")
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.failures.append(repr(error))
                await asyncio.sleep(PAUSE_SECONDS)

    async def talk_for_ever(self, port: int) -> None:
        """One TCP connection, over which a line is said and heard again and again; never a second one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while not self.failures:
                line = f"line {self.done}\n".encode()
                writer.write(line)
                async with asyncio.timeout(10):
                    heard = await reader.readline()
                if heard == line:
                    self.done += 1
                else:
                    self.failures.append(f"said {line!r}, heard {heard!r}")
                await asyncio.sleep(PAUSE_SECONDS)
        except (ConnectionError, TimeoutError) as error:
            self.failures.append(repr(error))
        finally:
            writer.close()
