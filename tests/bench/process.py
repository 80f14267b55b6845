"""A measured process: started, waited for, its CPU time and memory read, and stopped."""

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 30.0


@dataclass(frozen=True)
class Measured:
    """The processes that one subject consists of, and where it is called."""

    pids: tuple[int, ...]
    port: int
    host: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()
    """What a caller's command begins with, to call from the right network namespace."""

    def cpu_seconds(self) -> float:
        """CPU time of every thread, from the scheduler's own count in nanoseconds (proc(5), schedstat)."""
        files = [
            file for pid in everyone(self.pids) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")
        ]
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9

    def resident_bytes(self) -> int:
        """Resident memory of all its processes together."""
        return sum(
            resident_bytes(Path(f"/proc/{pid}/status").read_text(), pid) for pid in everyone(self.pids)
        )


def everyone(pids: Sequence[int]) -> list[int]:
    """The processes and their children: nginx and haproxy do their work in a child."""
    found = list(pids)
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def resident_bytes(status: str, pid: int = 0) -> int:
    """`VmRSS` of /proc/PID/status. Raises RuntimeError if the process has no memory any more."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"expected process {pid} to run, found that it has ended")


@contextmanager
def running(command: Sequence[str], ready: Callable[[], bool], log: Path) -> Iterator[int]:
    """Start `command`, wait until it is ready, give its process id, and stop it at the end.

    Raises RuntimeError, with what the process wrote, if it is not ready in time.
    """
    environment = {**os.environ, "TMPDIR": str(log.parent)}  # what it writes goes when the measurement does
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            wait_until(ready, process, log)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.02)
    raise RuntimeError(
        f"expected {process.args!r} to be ready within {READY_SECONDS:.0f} s, "
        f"found status {process.poll()}: {log.read_text(errors='replace')[-2000:]}"
    )


def says_ready(log: Path) -> Callable[[], bool]:
    """Whether a program of ours has written that it listens, where its port cannot be tried from here."""
    return lambda: b"ready" in log.read_bytes()


def accepts(port: int) -> Callable[[], bool]:
    """Whether something listens on that port of the loopback."""

    def ask() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return ask


def answers_ready(admin: Path) -> Callable[[], bool]:
    """Whether the proxy behind this admin socket says that it is ready (`GET /ready` is 200)."""

    def ask() -> bool:
        connection = http.client.HTTPConnection("proxy", timeout=2)
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(2)
            connection.sock.connect(str(admin))
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ask


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
