"""Network namespaces by path: making, entering in a thread, asking whose namespace a process lives in."""

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hauberk.node.command import CommandError, run

DIRECTORY = Path("/run/netns")
"""Where `ip netns` keeps its names; a name that we make begins with `hbk-INSTANCE-`."""

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

Result = TypeVar("Result")


def path(name: str) -> Path:
    """The file that stands for the namespace `name`."""
    return DIRECTORY / name


async def add_owned(namespace: Path, uid: int) -> None:
    """Makes a network namespace that belongs to a user namespace of its own, with `uid` as its one user.

    Whoever holds a capability in that user namespace holds it over this network and over nothing of the machine's.

    Raises:
        CommandError, OSError: it could not be made.
    """
    process = await asyncio.create_subprocess_exec(
        "unshare", "--user", "--net", "sh", "-c", "echo made; exec cat",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        if process.stdout is None or await process.stdout.readline() != b"made\n":
            _, said = await process.communicate()
            raise CommandError(f"unshare --user --net: {said.decode(errors='replace').strip()}")
        _map(process.pid, uid)
        _touch(namespace)
        await run("mount", "--bind", f"/proc/{process.pid}/ns/net", str(namespace))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _map(pid: int, uid: int) -> None:
    for file in ("gid_map", "uid_map"):
        Path(f"/proc/{pid}/{file}").write_text(f"{uid} {uid} 1\n")


def _touch(namespace: Path) -> None:
    namespace.touch()


def names(prefix: str) -> list[str]:
    """Names of the namespaces that begin with `prefix`."""
    if not DIRECTORY.is_dir():
        return []
    return sorted(entry.name for entry in DIRECTORY.iterdir() if entry.name.startswith(prefix))


def inode(namespace: Path) -> int:
    """What tells one namespace from another (namespaces(7)).

    Raises:
        FileNotFoundError: there is no such namespace or process.
    """
    return namespace.stat().st_ino


def of_process(pid: int) -> int:
    """The inode of the network namespace of a process.

    Raises:
        FileNotFoundError: the process is gone.
    """
    return inode(Path(f"/proc/{pid}/ns/net"))


def processes(namespace: Path) -> list[int]:
    """All processes that live in a namespace, as the kernel says; none if there is no such namespace."""
    try:
        wanted = inode(namespace)
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if of_process(int(entry.name)) == wanted:
                    found.append(int(entry.name))
            except OSError:
                continue  # it has ended meanwhile
    return found


def kill_all(namespace: Path) -> None:
    """Kills whatever lives in a namespace: nothing may outlive the pod that it was made for."""
    for pid in processes(namespace):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def call(namespace: Path, function: Callable[[], Result]) -> Result:
    """What `function` returns when called in a thread that lives in `namespace`.

    Sockets that it opens stay in that namespace. The thread ends afterwards, so nothing else ever runs in it.

    Raises:
        OSError: what `function` raised, or `EAGAIN` when this machine has no thread left.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def finish(result: Result | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            _enter(namespace)
            result = function()
        except BaseException as error:  # noqa: BLE001 - handed to the one who waits
            loop.call_soon_threadsafe(finish, None, error)
        else:
            loop.call_soon_threadsafe(finish, result, None)

    try:
        threading.Thread(target=run, name=f"in {namespace.name}", daemon=True).start()
    except RuntimeError as error:  # Python's name for pthread_create's EAGAIN
        raise OSError(errno.EAGAIN, str(error)) from error
    return await future


def _enter(namespace: Path) -> None:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns: {os.strerror(number)}", str(namespace))
    finally:
        os.close(descriptor)
