"""A process is known by when it started: neither a zombie nor a later process of its id passes for it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hauberk.cli.instance import Instance
from hauberk.process import identified, identify, send, start_time


@pytest.fixture
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def zombie(process: subprocess.Popen[bytes]) -> None:
    """Kills it, and returns once only its parent's wait is missing."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_a_zombie_lives_no_longer(sleeping: subprocess.Popen[bytes], tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_text(identify(sleeping.pid))
    assert identified(file) == sleeping.pid
    zombie(sleeping)
    os.kill(sleeping.pid, 0)  # which a zombie does not refuse
    assert identified(file) is None and start_time(sleeping.pid) == ""


def test_a_later_process_of_the_same_id_is_nobody_and_is_sent_nothing(
    sleeping: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    file.write_text(f"{sleeping.pid} 1")
    assert identified(file) is None
    assert not send(sleeping.pid, "1", signal.SIGKILL)
    assert sleeping.poll() is None
    assert send(sleeping.pid, start_time(sleeping.pid), signal.SIGTERM)
    assert sleeping.wait(10) == -signal.SIGTERM


def test_an_instance_runs_while_its_very_process_does(
    sleeping: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    instance = Instance(name="i", state=tmp_path, run=tmp_path, key_file=tmp_path / "key")
    said = {"pid": sleeping.pid, "started": start_time(sleeping.pid)}
    (tmp_path / "node.json").write_text(json.dumps(said))
    assert instance.node() == said
    (tmp_path / "node.json").write_text(json.dumps(said | {"started": "1"}))
    assert instance.node() is None
    (tmp_path / "node.json").write_text(json.dumps(said))
    zombie(sleeping)
    assert instance.node() is None


def test_a_process_may_call_itself_what_it_likes(tmp_path: Path) -> None:
    program = (
        "import ctypes, time; ctypes.CDLL(None).prctl(15, b') \\xff\\xfe'); print('named', flush=True); "
    )
    program += "time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"named\n"
            (tmp_path / "pid").write_text(identify(process.pid))
            assert identified(tmp_path / "pid") == process.pid
        finally:
            process.kill()
