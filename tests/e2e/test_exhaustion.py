"""A disk that is full, and processes that have no file descriptor left: calls go on, it is said, and it passes."""

import itertools
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from instance_testing.instance import TestInstance, instance, wait_until

pytestmark = pytest.mark.root

MANIFESTS = Path(__file__).with_name("manifests")
NOTE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note", "namespace": "mesh"}}


@pytest.fixture(scope="module")
def mesh() -> Iterator[TestInstance]:
    """The mesh with its state on a file system of its own, of 256 MiB."""
    with instance() as found:
        found.state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", found.state], check=True)
        try:
            found.said("up", "-d", str(MANIFESTS), timeout=180)
            yield found
        finally:
            found.hauberk("down", timeout=120)
            subprocess.run(["umount", "-l", found.state], check=True)


class Calls:
    """What the pod `steady` saw of its calls, in its own log file."""

    def __init__(self, mesh: TestInstance) -> None:
        uid = mesh.pod("steady")["metadata"]["uid"]
        self._log = mesh.state / "node/pods" / uid / "containers/steady/0/log"

    def since(self, moment: float) -> list[int]:
        said = [line.split()[-2:] for line in self._log.read_text().splitlines() if "hauberk:" not in line]
        return [int(status) for began, status in said if float(began) > moment]


@contextmanager
def filled(folder: Path, left: int) -> Iterator[None]:
    """The file system of `folder` with `left` bytes free."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        found = os.statvfs(folder)
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - max(left, 256 * 1024))
        file.seek(0, os.SEEK_END)
        if not left:
            with suppress(OSError):
                while True:
                    file.write(b"x" * 512)
    try:
        yield
    finally:
        filler.unlink(missing_ok=True)


def condition(mesh: TestInstance, kind: str) -> dict[str, str]:
    conditions = mesh.object("node", "local", "")["status"]["conditions"]
    found: dict[str, str] = next(each for each in conditions if each["type"] == kind)
    return found


def failed(mesh: TestInstance) -> list[str]:
    """What the proxies' access logs say of calls that were answered 503."""
    logs = mesh.run.glob("pods/*/access.log")
    return [
        line[:1000] for log in logs for line in log.read_text().splitlines() if '"response_code":503' in line
    ]


def restarts(mesh: TestInstance) -> int:
    pods = json.loads(mesh.said("get", "pods", "-n", "mesh", "-o", "json"))["items"]
    return sum(each["restartCount"] for pod in pods for each in pod["status"]["containerStatuses"])


def test_a_full_disk(mesh: TestInstance) -> None:
    processes = mesh.pid_of("hauberkd"), mesh.pid_of("node")
    calls, began = Calls(mesh), time.time()
    with filled(mesh.state, 6 * 1024 * 1024):
        wait_until(lambda: condition(mesh, "DiskPressure")["status"] == "True", 20, "the pressure is said")
        assert "free some space" in condition(mesh, "DiskPressure")["message"]
    with filled(mesh.state, 0):
        # The last pages of the store's log may take a few more writes.
        refused = wait_until(
            lambda: (done := mesh.hauberk("apply", "-f", "-", text=note())).returncode and done,
            30,
            "a change is refused",
        )
        assert "disk is full" in refused.stderr + refused.stdout, refused
        assert mesh.object("node", "local", ""), "what is known is read"
        full = time.time()
        for _ in range(10):
            curl = mesh.client("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://web:8000/")
            assert curl == "200", "calls go on"
    wait_until(lambda: mesh.hauberk("apply", "-f", "-", text=note()).returncode == 0, 20, "changes are taken")
    wait_until(lambda: condition(mesh, "DiskPressure")["status"] == "False", 20, "the pressure is gone")
    wait_until(lambda: len(calls.since(full)) > 5, 20, "the log goes on")
    assert set(calls.since(began)) == {200}, failed(mesh)
    assert restarts(mesh) == 0
    assert (mesh.pid_of("hauberkd"), mesh.pid_of("node")) == processes


def note() -> str:
    return json.dumps(NOTE | {"data": {"time": f"{time.time()}{'x' * 20_000}"}})


@pytest.mark.parametrize("process", ["hauberkd", "node"])
def test_no_descriptor_left(mesh: TestInstance, process: str) -> None:
    pid = mesh.pid_of(process)
    log = mesh.state / ("hauberkd.log" if process == "hauberkd" else "hauberk-node.log")
    calls, began = Calls(mesh), time.time()
    said = log.stat().st_size
    with limited(pid):
        wait_until(
            lambda: b"Too many open files" in log.read_bytes()[said:] or knock(mesh, process),
            30,
            "it is said",
        )
        wait_until(lambda: len(calls.since(began)) > 30, 20, "calls go on")
    wait_until(lambda: mesh.hauberk("logs", "-n", "mesh", "deploy/steady").returncode == 0, 30, "it recovers")
    wait_until(lambda: condition(mesh, "Ready")["status"] == "True", 30, "the node is ready")
    curl = mesh.client("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://web:8000/")
    assert curl == "200"
    assert set(calls.since(began)) == {200}
    assert restarts(mesh) == 0
    assert mesh.pid_of(process) == pid


def knock(mesh: TestInstance, process: str) -> None:
    """A connection that the process would need a descriptor for."""
    said = json.loads((mesh.run / f"{process}.json").read_text())
    found = urlsplit(said["api" if process == "hauberkd" else "kubelet"])
    with suppress(TimeoutError):
        socket.create_connection((found.hostname, found.port), 3).close()


@contextmanager
def limited(pid: int) -> Iterator[None]:
    """The process may open no file more; those that it has open stay."""
    before = subprocess.run(
        ["prlimit", "--pid", str(pid), "--nofile", "--output", "SOFT", "--noheadings"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    taken = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
    lowest = next(number for number in itertools.count() if number not in taken)
    subprocess.run(["prlimit", "--pid", str(pid), f"--nofile={lowest}:"], check=True)
    try:
        yield
    finally:
        subprocess.run(["prlimit", "--pid", str(pid), f"--nofile={before}:"], check=True)
