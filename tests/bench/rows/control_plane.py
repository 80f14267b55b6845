"""The control plane's row, in a process of its own so that gRPC's threads disturb no other row."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.report import Row, from_mapping

PROGRAM = Path(__file__).parent.parent / "push_one_endpoint.py"


def push_one_endpoint() -> list[Row]:
    done = subprocess.run([sys.executable, str(PROGRAM)], stdout=subprocess.PIPE, text=True, check=True)
    return [from_mapping(row) for row in json.loads(done.stdout)]
