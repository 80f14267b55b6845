"""`port-forward` over WebSocket: SPDY/3.1 in its messages, as kubectl speaks it since 1.31.

For each connection a client begins two streams with one `requestid`: an error stream, closed at once from its side, and
a data stream to `port` of the pod.
"""

import asyncio
import contextlib
import logging
import socket
from pathlib import Path

from aiohttp import WSMsgType, web

from hauberk.node import netns
from hauberk.node.spdy import Connection, Data, Opened, ProtocolError, Reply, Reset

log = logging.getLogger(__name__)
PROTOCOLS = ("SPDY/3.1+portforward.k8s.io",)
BLOCK = 32_768
CONNECT_SECONDS = 10.0
WAITING = 64
"""Blocks of one stream that may wait for the program to take them; then the whole client waits."""
MOST_STREAMS = 256
"""Streams of one client at a time, error streams that wait for their data stream among them."""


async def serve(request: web.Request, namespace: Path, address: str) -> web.WebSocketResponse:
    """Forwards connections to ports that programs listen on in the pod's network namespace."""
    answer = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=4 * 1024 * 1024)
    if not answer.can_prepare(request).ok or answer.can_prepare(request).protocol is None:
        raise web.HTTPBadRequest(
            text=f"expected a WebSocket with the protocol {PROTOCOLS[0]}; use kubectl 1.31 or later"
        )
    await answer.prepare(request)
    forward = _Forward(answer, namespace, address)
    try:
        async for message in answer:
            if message.type is WSMsgType.BINARY:
                await forward.receive(message.data)
    except ProtocolError as error:
        log.info("port-forward to %s: %s", address, error)
    finally:
        forward.close()
    await answer.close()
    return answer


class _Forward:
    def __init__(self, answer: web.WebSocketResponse, namespace: Path, address: str) -> None:
        self._answer = answer
        self._namespace = namespace
        self._address = address
        self._spdy = Connection()
        self._errors: dict[str, int] = {}
        self._inputs: dict[int, asyncio.Queue[bytes]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def receive(self, data: bytes) -> None:
        for event in self._spdy.receive(data):
            match event:
                case Opened():
                    self._begin(event)
                    await self._answer.send_bytes(self._spdy.accept(event.stream))
                case Data() if (queue := self._inputs.get(event.stream)) is not None:
                    if event.data:
                        await queue.put(event.data)
                    if event.last:
                        await queue.put(b"")
                case Reset() if (task := self._tasks.get(event.stream)) is not None:
                    task.cancel()
                case Reply():
                    await self._answer.send_bytes(event.data)

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    def _begin(self, opened: Opened) -> None:
        if opened.stream in self._tasks or opened.stream in self._errors.values():
            raise ProtocolError(f"stream {opened.stream}: expected a new one, found one in use")
        if len(self._tasks) + len(self._errors) >= MOST_STREAMS:
            raise ProtocolError(f"expected at most {MOST_STREAMS} streams at a time, found more")
        request = opened.headers.get("requestid", "")
        if opened.headers.get("streamtype") == "error":
            if request in self._errors:
                raise ProtocolError(f"request {request!r}: expected one error stream, found two")
            self._errors[request] = opened.stream
            return
        error = self._errors.pop(request, None)
        self._inputs[opened.stream] = asyncio.Queue(WAITING)
        port = opened.headers.get("port", "")
        task = self._tasks[opened.stream] = asyncio.create_task(self._carry(opened.stream, error, port))
        task.add_done_callback(lambda _: self._forget(opened.stream))

    def _forget(self, stream: int) -> None:
        self._tasks.pop(stream, None)
        queue = self._inputs.pop(stream)
        while not queue.empty():
            queue.get_nowait()  # whoever waits for room in it goes on

    async def _carry(self, stream: int, error: int | None, port: str) -> None:
        problem = b""
        try:
            if not port.isdecimal() or not 0 < int(port) < 65_536:
                raise OSError(f"expected a port's number, found {port!r}")
            inside = await self._connect(int(port))
            reader, writer = await asyncio.open_connection(sock=inside)
            await self._join(stream, reader, writer)
        except TimeoutError:
            problem = f"cannot reach port {port} of the pod: no answer within {CONNECT_SECONDS:g} s".encode()
        except OSError as failure:
            problem = f"cannot reach port {port} of the pod: {failure}".encode()
        with contextlib.suppress(ConnectionError):
            if error is not None:
                await self._answer.send_bytes(self._spdy.send(error, problem, last=True))
            await self._answer.send_bytes(
                self._spdy.reset(stream) if problem else self._spdy.send(stream, b"", last=True)
            )

    async def _connect(self, port: int) -> socket.socket:
        """To a program that listens on the pod's loopback, as Kubernetes has it, or on its address alone."""
        try:
            return await self._connect_to("127.0.0.1", port)
        except ConnectionRefusedError:
            return await self._connect_to(self._address, port)

    async def _connect_to(self, address: str, port: int) -> socket.socket:
        # Only made in the pod's namespace: a thread that waited for the connection would be one a stream.
        inside = await netns.call(self._namespace, _socket)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(inside, (address, port))
        except BaseException:
            inside.close()
            raise
        return inside

    async def _join(self, stream: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write() -> None:
            while data := await self._inputs[stream].get():
                writer.write(data)
                await writer.drain()
            writer.write_eof()

        writing = asyncio.ensure_future(write())
        try:
            while data := await reader.read(BLOCK):
                await self._answer.send_bytes(self._spdy.send(stream, data))
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            writer.close()


def _socket() -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    return made
