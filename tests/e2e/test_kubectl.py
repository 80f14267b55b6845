"""What a real kubectl does in a running pod: sit at a terminal in it, listen to it, reach its ports."""

import concurrent.futures
import fcntl
import hashlib
import json
import os
import pty
import shlex
import struct
import subprocess
import termios
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from instance_testing.instance import TestInstance, instance

pytestmark = pytest.mark.root

PROGRAM = """
cd /tmp && head -c 5000000 /dev/urandom >large && sha256sum <large >sum
python3 -m http.server 8080 --bind 127.0.0.1 >/dev/null 2>&1 &
while :; do echo to output; echo to error >&2; sleep 0.2; done
"""
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "shell", "namespace": "default"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "shell", "image": "host", "command": ["/bin/sh", "-c", PROGRAM]}],
    },
}


@pytest.fixture(scope="module")
def house() -> Iterator[TestInstance]:
    """An instance with one pod, `shell`."""
    with instance() as found:
        folder = found.folder / "manifests"
        folder.mkdir()
        (folder / "shell.json").write_text(json.dumps(POD))
        found.said("up", "-d", str(folder), timeout=120)
        yield found


class Window:
    """A program that sits at a terminal of ours."""

    def __init__(self, house: TestInstance, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(80, 24)
        environment = os.environ | {"KUBECONFIG": str(house.state / "admin.kubeconfig")}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "kubectl", *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""
        os.set_blocking(self.ours, False)

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def expect(self, text: str, seconds: float = 15) -> str:
        """What was printed up to and with `text`, which is then read."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, f"expected {text!r}, seen {self.seen!r}"
            try:
                self.seen += os.read(self.ours, 65536).decode()
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                raise AssertionError(f"expected {text!r}, seen {self.seen!r} and the end") from None
        before, _, self.seen = self.seen.partition(text)
        return before + text


@contextmanager
def window(house: TestInstance, *arguments: str) -> Iterator[Window]:
    opened = Window(house, *arguments)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.ours)


@contextmanager
def shell(house: TestInstance) -> Iterator[Window]:
    with window(house, "exec", "-it", "shell", "--", "/bin/bash", "--norc", "-i") as opened:
        opened.type("PS1='ready''> '; stty -echo\n")
        opened.expect("ready> ")
        yield opened


def test_the_terminal_is_the_containers_own(house: TestInstance) -> None:
    with shell(house) as opened:
        opened.type("tty; ls -l $(tty); echo end''ed\n")
        said = opened.expect("ended")
        assert "/dev/pts/0\r\n" in said, said
        assert " root tty " in said, said


def test_its_size_is_the_windows_and_changes_with_it(house: TestInstance) -> None:
    with shell(house) as opened:
        opened.type("stty size\n")
        opened.expect("24 80")
        loop = "trap 'stty size' WINCH; echo trap\"\"ped; while :; do sleep 0.05; done"
        opened.type(f"sh -c {shlex.quote(loop)}\n")
        opened.expect("trapped")
        opened.resize(132, 43)
        opened.expect("43 132")


def test_jobs_are_controlled_from_it(house: TestInstance) -> None:
    with shell(house) as opened:
        loop = 'trap \'echo cont""inued\' CONT; echo run""ning; while :; do sleep 0.05; done'
        opened.type(f"sh -c {shlex.quote(loop)}\n")
        opened.expect("running")
        opened.type("\x1a")
        opened.expect("Stopped")
        opened.type("fg\n")
        opened.expect("continued")
        opened.type("\x03")
        opened.expect("ready> ")
        opened.type("echo code $?\n")
        opened.expect("code 130")
        opened.type("exit 7\n")
        assert opened.process.wait(10) == 7


def test_a_window_that_is_closed_ends_what_ran_in_it(house: TestInstance) -> None:
    with shell(house) as opened:
        opened.type("sleep 987654 & echo back''ground\n")
        opened.expect("background")
    deadline = time.monotonic() + 10
    while "987654" in house.said(
        "exec", "shell", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
    ):
        assert time.monotonic() < deadline


def kubectl(house: TestInstance, *arguments: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"KUBECONFIG": str(house.state / "admin.kubeconfig")}
    return subprocess.Popen(
        ["kubectl", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_attach_gives_what_the_program_says_from_now_on(house: TestInstance) -> None:
    process = kubectl(house, "attach", "shell")
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "to output\n"
        while (line := process.stderr.readline()) != "to error\n":
            assert "to error" in line or "see a command prompt" in line, line
    finally:
        process.kill()
        process.wait()


def test_a_port_of_the_pod_is_forwarded(house: TestInstance) -> None:
    process = kubectl(house, "port-forward", "pod/shell", ":8080", ":8081")
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        ports: dict[str, int] = {}
        while len(ports) < 2:
            said = process.stdout.readline().split()
            ports[said[-1]] = int(said[2].rsplit(":", 1)[1])
        served, refused = ports["8080"], ports["8081"]
        total = urllib.request.urlopen(f"http://127.0.0.1:{served}/sum", timeout=20).read()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            url = f"http://127.0.0.1:{served}/large"
            for body in pool.map(lambda _: urllib.request.urlopen(url, timeout=60).read(), range(4)):
                assert hashlib.sha256(body).hexdigest() == total.decode().split()[0]
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{refused}/", timeout=20)
        assert "cannot reach port 8081" in process.stderr.readline()
    finally:
        process.kill()
        process.wait()
