"""An instance of its own for a test: a name, folders, and the `hauberk` command line."""

import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

HAUBERK = Path(sys.executable).with_name("hauberk")
T = TypeVar("T")


class TestInstance:
    """One instance; nothing runs until `hauberk("up", …)`."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self.name = f"e2e-{secrets.token_hex(3)}"
        self.folder, self.state, self.run, self.key_file = folder, folder / "s", folder / "r", folder / "k"

    def command(self, *arguments: str) -> list[str]:
        return [
            str(HAUBERK), "--instance", self.name, "--state", str(self.state), "--run", str(self.run),
            "--key-file", str(self.key_file), *arguments,
        ]  # fmt: skip

    def hauberk(
        self, *arguments: str, timeout: float = 60, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs a verb to its end, whatever its exit code."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout, input=text
        )

    def said(self, *arguments: str, timeout: float = 60, text: str = "") -> str:
        """What a verb printed, which must end with exit code 0."""
        done = self.hauberk(*arguments, timeout=timeout, text=text)
        assert done.returncode == 0, (
            f"hauberk {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def client(self, *command: str, timeout: float = 20) -> str:
        """What a command printed in the pod `client`."""
        return self.said("exec", "-n", "mesh", "deploy/client", "--", *command, timeout=timeout)

    def pod(self, app: str, version: str = "v1") -> dict[str, Any]:
        """The one pod of the mesh with these labels."""
        wanted = f"app={app},version={version}"
        (found,) = json.loads(self.said("get", "pods", "-n", "mesh", "-l", wanted, "-o", "json"))["items"]
        pod: dict[str, Any] = found
        return pod

    def object(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.said("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    def pid_of(self, process: str) -> int:
        """Of `hauberkd` or `node`."""
        return int(json.loads((self.run / f"{process}.json").read_text())["pid"])


@contextmanager
def instance() -> Iterator[TestInstance]:
    """An instance that is gone at the end, whatever happened to it."""
    folder = Path(tempfile.mkdtemp(prefix="hbk-", dir="/tmp"))
    found = TestInstance(folder)
    try:
        yield found
    finally:
        try:
            found.hauberk("down", "--purge", timeout=120)
        finally:
            shutil.rmtree(folder)


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """The first true answer of a condition, or a failure once the deadline is past."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; the last answer was {answer!r}"
        time.sleep(0.02)


def output(arguments: Sequence[str], timeout: float = 20) -> str:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=timeout, check=True).stdout
