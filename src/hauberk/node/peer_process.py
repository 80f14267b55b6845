"""The process at the other end of a Unix socket, as the kernel knows it and not as it says."""

import errno
import os
import re
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from hauberk.node import netns

SO_PEERPIDFD = 77
"""Since Linux 6.5: a descriptor of the process that connected, taken then (unix(7))."""
_CREDENTIALS = struct.Struct("3i")
_PID = re.compile(r"^Pid:\s*(-?\d+)$", re.MULTILINE)


class Connection(Protocol):
    """A connected Unix socket, `asyncio`'s guarded one too."""

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


class PeerProcess:
    """One process, whatever becomes of its id: the descriptor never stands for another."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def pid(self) -> int:
        """Its id here; 0 or less if it has ended, or is not visible from our pid namespace."""
        found = _PID.search(Path(f"/proc/self/fdinfo/{self._descriptor}").read_text())
        return int(found[1]) if found else 0

    def lives_in(self, namespace: Path) -> bool:
        """Whether it lives, in this network namespace. False if that cannot be said for certain."""
        pid = self.pid
        if pid <= 0:
            return False
        try:
            same = netns.of_process(pid) == netns.inode(namespace)
        except OSError:
            return False
        # It lived until after we looked, so that what we looked at was its own and no successor's of its id.
        return same and not self._has_ended()

    def _has_ended(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(0))


@contextmanager
def peer_process(connection: Connection) -> Iterator[PeerProcess]:
    """The process that connected. It may have ended, or passed its end of the socket on.

    Raises:
        ProcessLookupError: it has ended, and left nothing to look at.
    """
    descriptor = _descriptor(connection)
    try:
        yield PeerProcess(descriptor)
    finally:
        os.close(descriptor)


def _descriptor(connection: Connection) -> int:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4)
        return int.from_bytes(raw, "little", signed=True)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
    # Before Linux 6.5 there is the id alone, which another process might have got since the connection was made.
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(raw)[0]
    return os.pidfd_open(pid)
