"""Uses what capabilities would allow on the machine itself."""

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> str:
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "got it done"


def write(path: str, text: str) -> str:
    Path(path).write_text(text)
    return "got it written"


def device() -> str:
    os.mknod("/tmp/sda", 0o60600, os.makedev(8, 0))
    with Path("/tmp/sda").open("rb") as disk:
        return f"got {disk.read(16)!r}"


def memory() -> str:
    os.mknod("/tmp/mem", 0o20600, os.makedev(1, 1))
    with Path("/tmp/mem").open("rb") as file:
        return f"got {file.read(16)!r}"


def clock() -> str:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return "got the clock"


def remount() -> str:
    done = subprocess.run(["mount", "-o", "remount,rw", "/usr"], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip())
    Path("/usr/escaped").write_text("")
    return "got /usr writable"


def join(process: int, kind: str) -> str:
    with Path(f"/proc/{process}/ns/{kind}").open() as namespace:
        if os.fstat(namespace.fileno()).st_ino == Path(f"/proc/self/ns/{kind}").stat().st_ino:
            return "its own"
        return call("setns", namespace.fileno(), 0)


def bpf() -> str:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    attributes = (ctypes.c_uint32 * 32)(1, 4, 4, 1)
    return call("syscall", 321, 0, attributes, 128)


attempts = {
    "write to /usr": lambda: write("/usr/escaped", ""),
    "write to /etc": lambda: write("/etc/escaped", ""),
    "remount /usr": remount,
    "core pattern": lambda: write("/proc/sys/kernel/core_pattern", "|/tmp/x"),
    "forwarding of the machine": lambda: write("/proc/sys/kernel/sysrq", "1"),
    "block device": device,
    "memory device": memory,
    "clock": clock,
    "module": lambda: call("syscall", 175, b"", 0, b""),
    "kernel log": lambda: call("klogctl", 3, ctypes.create_string_buffer(64), 64),
    "bpf": bpf,
    "keyring": lambda: call("syscall", 250, 0, -4, 1),
    "network of PID 1": lambda: join(1, "net"),
    "mounts of PID 1": lambda: join(1, "mnt"),
    "user of PID 1": lambda: join(1, "user"),
}
outcome = {}
for what, how in attempts.items():
    try:
        outcome[what] = how()
    except (OSError, PermissionError) as error:
        outcome[what] = f"refused: {error}"
sys.stdout.write(json.dumps(outcome))
