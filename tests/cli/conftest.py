"""`hauberk` in this process, against a `hauberkd` that the tests of this folder share, each in its own namespace."""

import io
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hauberk.cli.__main__ import main


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Instance:
    """A control plane in temporary folders, and the command line for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state, self.run_folder, self.key = folder / "state", folder / "run", folder / "key"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def places(self) -> list[str]:
        return ["--state", str(self.state), "--run", str(self.run_folder), "--key-file", str(self.key)]

    def start(self) -> None:
        log = self.folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hauberk.daemon", *self.places], stderr=output
            )
        deadline = time.monotonic() + 20
        while not (self.run_folder / "hauberkd.json").exists():
            assert self.process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)

    def end(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)

    def hauberk(self, *words: str | Path, stdin: str = "", code: int | None = 0) -> Done:
        """Runs the command line; `code` is the exit code that it must end with, None for any."""
        out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.delenv("KUBECONFIG", raising=False)
            patch.setenv("HOME", str(self.folder))
            with pytest.raises(SystemExit) as ended:
                main([*self.places, *map(str, words)])
        ran = Done(int(ended.value.code or 0), *(each.buffer.getvalue().decode() for each in (out, err)))
        assert code is None or ran.code == code, (words, ran)
        return ran

    def until(self, text: str, *words: str) -> str:
        """What a command prints once that has `text` in it."""
        deadline = time.monotonic() + 10
        while text not in (shown := self.hauberk(*words, code=None).out):
            assert time.monotonic() < deadline, f"{words} never said {text!r}: {shown}"
            time.sleep(0.05)
        return shown


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    made = Instance(tmp_path_factory.mktemp("cli"))
    made.start()
    yield made
    made.end()


@pytest.fixture
def namespace(instance: Instance) -> str:
    name = f"cli-{uuid.uuid4().hex[:8]}"
    instance.hauberk(
        "apply", "-f", "-", stdin=f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"
    )
    return name
