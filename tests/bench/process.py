"""A measured process: started, waited for, its CPU time and memory read, and stopped."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 15.0


@dataclass(frozen=True)
class Measured:
    """The processes that one subject consists of, and the port that it listens on."""

    pids: tuple[int, ...]
    port: int

    def cpu_seconds(self) -> float:
        """CPU time of every thread, from the scheduler's own count in nanoseconds (proc(5), schedstat)."""
        files = [
            file for pid in everyone(self.pids) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")
        ]
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9

    def resident_bytes(self) -> int:
        """Resident memory of all its processes together."""
        return sum(resident_bytes(pid) for pid in everyone(self.pids))


def everyone(pids: Sequence[int]) -> list[int]:
    """The processes and their children: nginx and haproxy do their work in a child."""
    found = list(pids)
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[Measured]:
    """Start `command`, wait until it accepts on `port`, and stop it at the end.

    Raises RuntimeError, with what the process wrote, if it does not listen in time.
    """
    environment = {**os.environ, "TMPDIR": str(log.parent)}  # what it writes goes when the measurement does
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            wait_until_accepting(process, port, log)
            yield Measured((process.pid,), port)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_accepting(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(
        f"expected {process.args!r} to accept on 127.0.0.1:{port}, "
        f"found status {process.poll()}: {log.read_text(errors='replace')[-2000:]}"
    )


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
