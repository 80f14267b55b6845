"""The outer end of a terminal that a container's program sits at."""

import asyncio
import fcntl
import os
import socket
import struct
import termios

BLOCK = 32_768


class Terminal:
    """What is written is typed at the program; what is read it has printed. Takes over the descriptor."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    async def read(self) -> bytes:
        """What the program printed; nothing at all once nobody has the inner end any more."""
        while True:
            try:
                return os.read(self._descriptor, BLOCK)
            except BlockingIOError:
                await readable(self._descriptor)
            except OSError:
                return b""  # EIO: tty_ioctl(4) has no better word for a terminal that was hung up

    async def write(self, data: bytes) -> None:
        """Returns when the program's side has taken all of it. Raises `OSError` if nobody is there."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                await _writable(self._descriptor)

    def resize(self, width: int, height: int) -> None:
        """In characters. The program gets SIGWINCH. Raises `OSError` if nobody is there."""
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))

    def close(self) -> None:
        """Hangs up: the program's session gets SIGHUP."""
        os.close(self._descriptor)


async def receive(connection: socket.socket) -> Terminal | None:
    """The terminal that is sent over a Unix socket (unix(7), SCM_RIGHTS); None if the other side closes instead."""
    connection.setblocking(False)
    while True:
        await readable(connection.fileno())
        try:
            _data, descriptors, _flags, _address = socket.recv_fds(connection, 1, 1)
        except BlockingIOError:
            continue
        return Terminal(descriptors[0]) if descriptors else None


async def readable(descriptor: int) -> None:
    """Returns when reading from a descriptor would not wait."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(descriptor, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)
