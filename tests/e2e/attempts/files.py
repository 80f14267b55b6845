"""Reads files and lists folders, and looks for processes that are not its own."""

import json
import sys
from pathlib import Path


def read(path: Path) -> str:
    if path.is_dir():
        names = [each.name for each in path.iterdir()]
        return f"got names {names[:5]}" if names else "empty"
    with path.open("rb", buffering=0) as file:
        data = file.read(16)
    return f"got {data!r}" if data else "empty"


outcome = {}
for name in sys.argv[1:]:
    try:
        outcome[name] = read(Path(name))
    except OSError as error:
        outcome[name] = f"refused: {error}"
for process in Path("/proc").iterdir():
    if process.name.isdigit():
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        strange = [
            name for name in ("hauberkd", "hauberk.daemon", "hauberk-proxy", "web.py") if name in words
        ]
        outcome[f"process {process.name}"] = f"got {strange}" if strange else "its own"
sys.stdout.write(json.dumps(outcome))
