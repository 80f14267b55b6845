"""One `hauberkd` for one state folder: a lock that the kernel lets go of when the process dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunningError(Exception):
    """Another process holds the lock; the message names it."""


@contextmanager
def instance_lock(state: Path) -> Iterator[None]:
    """Hold `STATE/hauberkd.lock`.

    Raises:
        AlreadyRunningError: another `hauberkd` runs on this state folder.
        OSError: the file cannot be opened.
    """
    path = state / "hauberkd.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunningError(
                f"{state}: another hauberkd (process {holder}) runs on this state folder; "
                "stop it, or choose another --state"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
