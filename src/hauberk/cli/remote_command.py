"""A command in a container, over the WebSocket protocol `v5.channel.k8s.io`, joined to our own input and output.

The first byte of each message is its channel: 0 input, 1 output, 2 error output, 3 the outcome (a `metav1.Status`),
4 the terminal's size, 255 the end of the channel that the next byte names.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext

import aiohttp

from hauberk.cli.errors import CommandError

PROTOCOL = "v5.channel.k8s.io"
INPUT, OUTPUT, ERROR_OUTPUT, OUTCOME, SIZE, CLOSE = 0, 1, 2, 3, 4, 255
BLOCK = 32_768


async def join(socket: aiohttp.ClientWebSocketResponse, *, stdin: bool, terminal: bool) -> int:
    """Carries input and output until the command ends; its exit code.

    Raises:
        CommandError: the command could not be run, or the connection broke before it ended.
    """
    with _raw(sys.stdin.fileno()) if terminal and stdin else nullcontext():
        tasks = [asyncio.ensure_future(_send_input(socket))] if stdin else []
        if terminal:
            tasks.append(asyncio.ensure_future(_send_sizes(socket)))
        try:
            return await _receive(socket)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _receive(socket: aiohttp.ClientWebSocketResponse) -> int:
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel in (OUTPUT, ERROR_OUTPUT):
            stream = sys.stdout.buffer if channel == OUTPUT else sys.stderr.buffer
            stream.write(data)
            stream.flush()
        elif channel == OUTCOME:
            return exit_code(data)
    raise CommandError(
        "the connection to the command broke before it ended", "is the node well? `hauberk status`"
    )


def exit_code(outcome: bytes) -> int:
    """The exit code that a `metav1.Status` tells.

    Raises:
        CommandError: the command was not run; the message says why.
    """
    status = json.loads(outcome)
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise CommandError(f"the command was not run: {status.get('message')}")


async def _send_input(socket: aiohttp.ClientWebSocketResponse) -> None:
    loop = asyncio.get_running_loop()
    reader = sys.stdin.fileno()
    blocks: asyncio.Queue[bytes] = asyncio.Queue(1)
    # A thread, because a file cannot be waited for by epoll; it ends with the process.
    threading.Thread(target=_read_blocks, args=(reader, blocks, loop), daemon=True).start()
    while data := await blocks.get():
        await socket.send_bytes(bytes([INPUT]) + data)
    await socket.send_bytes(bytes([CLOSE, INPUT]))


def _read_blocks(reader: int, blocks: asyncio.Queue[bytes], loop: asyncio.AbstractEventLoop) -> None:
    data = b"-"
    while data:
        try:
            data = os.read(reader, BLOCK)
        except OSError:
            data = b""
        try:
            asyncio.run_coroutine_threadsafe(blocks.put(data), loop).result()
        except (RuntimeError, CancelledError):
            return  # the command has ended before its input


async def _send_sizes(socket: aiohttp.ClientWebSocketResponse) -> None:
    """The terminal's size, now and whenever it changes."""
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while True:
            columns, rows = shutil.get_terminal_size()
            await socket.send_bytes(bytes([SIZE]) + json.dumps({"Width": columns, "Height": rows}).encode())
            await changed.wait()
            changed.clear()
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Keys go to the command as they are typed; the terminal is as it was afterwards."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
