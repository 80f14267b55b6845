"""What a proxy has put in its pod's folder, opened by root: its own files and its own socket, and nothing else.

A captured proxy puts there what it likes: links to the machine's files, pipes, links to another pod's socket. Whose
folder it is says its group, which is root's to set.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NotTheProxysError(OSError):
    """In a proxy's folder lies what the proxy has not made there itself."""


@contextmanager
def opened(file: Path, access: int = os.O_RDONLY) -> Iterator[int]:
    """A descriptor of a regular file of the proxy's own; no link is followed, and no pipe waited for.

    Raises:
        NotTheProxysError: it is no regular file, another user's, or has a second name.
        OSError: it cannot be opened: it is not there, or is a link.
    """
    descriptor = os.open(file, access | _OPEN)
    try:
        _check(file, os.fstat(descriptor), stat.S_ISREG, "a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def socket_path(file: Path) -> Iterator[str]:
    """A path that stands for the proxy's own socket, whatever is put in its place meanwhile. Raises as `opened`."""
    descriptor = os.open(file, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check(file, os.fstat(descriptor), stat.S_ISSOCK, "a socket")
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def last(file: Path, most: int) -> bytes:
    """The last bytes of a file of the proxy's own, at most so many. Raises as `opened`."""
    with opened(file) as descriptor:
        return os.pread(descriptor, most, max(0, os.fstat(descriptor).st_size - most))


def open_to_append(file: Path, uid: int) -> int:
    """A descriptor of the proxy's file of that name, made anew if something else lies there. Raises `OSError`."""
    try:
        with opened(file, os.O_WRONLY | os.O_APPEND) as descriptor:
            return os.dup(descriptor)
    except OSError:
        file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | _OPEN, 0o644)
    os.fchown(descriptor, uid, uid)
    return descriptor


def _check(file: Path, found: os.stat_result, is_kind: Callable[[int], bool], kind: str) -> None:
    proxy = file.parent.stat().st_gid
    if not is_kind(found.st_mode) or found.st_uid != proxy or found.st_nlink != 1:
        raise NotTheProxysError(
            f"{file}: expected {kind} of user {proxy} with one name, found mode {found.st_mode:o} of user "
            f"{found.st_uid} with {found.st_nlink} names; the pod's proxy may be captured: delete the pod"
        )
