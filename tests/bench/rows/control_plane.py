"""The control plane's row, in a process of its own so that gRPC's threads disturb no other row."""

import json
import subprocess
import sys

from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.settings import Settings


def push_one_endpoint(settings: Settings, progress: Progress) -> list[Measurement]:
    progress.say(f"push_one_endpoint: 200 streams synchronise, then {settings.pushes} changes")
    command = [sys.executable, "-m", "tests.bench.push_one_endpoint", "--rounds", str(settings.pushes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout)
    for name, (value, unit) in figures.items():
        progress.say(f"{name}: {value:.2f} {unit}")
    return [Measurement(name, unit, {OURS: [value]}) for name, (value, unit) in figures.items()]
