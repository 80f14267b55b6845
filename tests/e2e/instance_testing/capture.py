"""Packet captures on the links of an instance."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def capture(namespace: str, link: str, file: Path) -> Iterator[None]:
    """Captures whole packets into `file` while the block runs."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "tcpdump", "-i", link, "-s", "0", "-U", "--immediate-mode", "-Z", "root",
         "-w", str(file)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "listening on" in line:
                break
        else:
            raise AssertionError(f"tcpdump did not start on {link} of {namespace}")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        process.wait(10)
