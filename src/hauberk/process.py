"""Processes, told from later ones of the same id by the moment at which they started."""

import os
import signal
from pathlib import Path


def start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat (proc(5)); empty when the process is gone or a zombie."""
    try:
        # Bytes: a process gives itself any name (PR_SET_NAME), of UTF-8 or not.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in b"ZX" else fields[19].decode()


def identify(pid: int) -> str:
    """What a file says of a process, for `identified`."""
    return f"{pid} {start_time(pid)}"


def identified(file: Path) -> int | None:
    """The process that a file names by id and start time, while it lives."""
    try:
        pid, _, started = file.read_text().partition(" ")
    except FileNotFoundError:
        return None
    return int(pid) if started and start_time(int(pid)) == started else None


def send(pid: int, started: str, number: signal.Signals) -> bool:
    """Signals that process and no later one of its id; whether it was there. Raises PermissionError."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if start_time(pid) != started:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True
