"""`attach` over WebSocket: what a container says from now on, on the channels of `exec` (`exec_stream`)."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from aiohttp import WSMsgType, web

from hauberk.node import container_log
from hauberk.node.exec_stream import ERROR_OUTPUT, OUTCOME, OUTPUT, PROTOCOLS, outcome


async def serve(request: web.Request, log: Path, ended: Callable[[], bool]) -> web.WebSocketResponse:
    """Follows the container's log from its end, until the container or the caller ends."""
    socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=1024 * 1024)
    await socket.prepare(request)
    sending = asyncio.ensure_future(_send(socket, log, ended))
    waiting = asyncio.ensure_future(_gone(socket))
    try:
        await asyncio.wait({sending, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        waiting.cancel()
        await asyncio.gather(sending, waiting, return_exceptions=True)
    await socket.close()
    return socket


async def _send(socket: web.WebSocketResponse, log: Path, ended: Callable[[], bool]) -> None:
    async for line in container_log.lines(log, ended=ended, follow=True, tail=0):
        _time, _, rest = line.partition(b" ")
        channel = ERROR_OUTPUT if rest.startswith(b"stderr ") else OUTPUT
        await socket.send_bytes(bytes([channel]) + container_log.text(line, timestamps=False))
    await socket.send_bytes(bytes([OUTCOME]) + json.dumps(outcome(0)).encode())


async def _gone(socket: web.WebSocketResponse) -> None:
    """Returns when the caller has gone; nothing that it types reaches a program, which has no standard input."""
    async for message in socket:
        if message.type is WSMsgType.ERROR:
            return
