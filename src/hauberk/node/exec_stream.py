"""`exec` over WebSocket as Kubernetes speaks it: `v5.channel.k8s.io` and `v4.channel.k8s.io`.

The first byte of each message is its channel: 0 standard input, 1 output, 2 error output, 3 the outcome
(a `metav1.Status`), 4 the size of the terminal, 255 (v5) the end of the channel that the next byte names.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from aiohttp import WSMsgType, web

from hauberk.node.driver import Driver, DriverError
from hauberk.node.terminal import Terminal

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
INPUT, OUTPUT, ERROR_OUTPUT, OUTCOME, SIZE, CLOSE = 0, 1, 2, 3, 4, 255
BLOCK = 32_768
HANG_UP_SECONDS = 3.0


async def serve(
    request: web.Request, driver: Driver, folder: Path, command: Sequence[str], *, terminal: bool
) -> web.WebSocketResponse:
    """Runs `command` in a container with the request's WebSocket as its input and output."""
    socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=4 * 1024 * 1024)
    await socket.prepare(request)
    try:
        if terminal:
            code = await _on_terminal(socket, driver, folder, command)
        else:
            code = await _on_pipes(socket, driver, folder, command)
        await socket.send_bytes(bytes([OUTCOME]) + json.dumps(outcome(code)).encode())
    except DriverError as error:
        status = {"status": "Failure", "reason": "InternalError", "message": str(error), "code": 500}
        await socket.send_bytes(bytes([OUTCOME]) + json.dumps(status).encode())
    except ConnectionError:
        pass  # the caller has gone; its program was ended
    await socket.close()
    return socket


def outcome(code: int) -> dict[str, object]:
    """How a program ended, as a `metav1.Status`."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


async def _on_pipes(
    socket: web.WebSocketResponse, driver: Driver, folder: Path, command: Sequence[str]
) -> int:
    process = await driver.execute(folder, command)
    stdin = process.stdin

    def write(data: bytes | None) -> None:
        if stdin is None or stdin.is_closing():
            return
        if data is None:
            stdin.close()
        else:
            stdin.write(data)

    async def send(reader: asyncio.StreamReader | None, channel: int) -> None:
        while reader is not None and (data := await reader.read(BLOCK)):
            await socket.send_bytes(bytes([channel]) + data)

    async def receive() -> None:
        async for message in socket:
            if message.type is not WSMsgType.BINARY or not message.data:
                continue
            if message.data[0] == INPUT:
                write(message.data[1:])
                if stdin is not None:
                    await stdin.drain()
            elif message.data[:2] == bytes([CLOSE, INPUT]):
                write(None)
        # The caller has gone.
        if process.returncode is None:
            process.kill()

    receiving = asyncio.ensure_future(receive())
    try:
        await asyncio.gather(send(process.stdout, OUTPUT), send(process.stderr, ERROR_OUTPUT))
        return await process.wait()
    finally:
        receiving.cancel()
        if process.returncode is None:
            process.kill()


async def _on_terminal(
    socket: web.WebSocketResponse, driver: Driver, folder: Path, command: Sequence[str]
) -> int:
    process, terminal = await driver.execute_on_terminal(folder, command)
    printing = asyncio.ensure_future(_print(socket, terminal))
    typing = asyncio.ensure_future(_type(socket, terminal))
    try:
        await asyncio.wait({printing, typing}, return_when=asyncio.FIRST_COMPLETED)
        if not printing.done():
            raise ConnectionResetError("the caller has gone")
        await printing
        return await process.wait()
    finally:
        # As a task of its own: a caller that goes away cancels this one, and may do so twice.
        await asyncio.shield(_hang_up(process, terminal, printing, typing))


async def _hang_up(
    process: asyncio.subprocess.Process, terminal: Terminal, *users: asyncio.Future[None]
) -> None:
    """A shell that is hung up tells its jobs; what stays all the same is killed."""
    for user in users:
        user.cancel()
    await asyncio.gather(*users, return_exceptions=True)
    terminal.close()
    try:
        async with asyncio.timeout(HANG_UP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()


async def _print(socket: web.WebSocketResponse, terminal: Terminal) -> None:
    while data := await terminal.read():
        await socket.send_bytes(bytes([OUTPUT]) + data)


async def _type(socket: web.WebSocketResponse, terminal: Terminal) -> None:
    """What the caller types and how large its window is, until it goes away."""
    async for message in socket:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        try:
            if message.data[0] == INPUT:
                await terminal.write(message.data[1:])
            elif message.data[0] == SIZE:
                size = json.loads(message.data[1:])
                terminal.resize(int(size["Width"]), int(size["Height"]))
        except OSError:
            continue  # nobody sits there any more; how it ended is on its way
