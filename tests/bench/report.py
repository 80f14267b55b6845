"""The rows of the report, as `build/bench.json` and as a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

OURS = "hauberk"


@dataclass(frozen=True)
class Row:
    """One figure of ours beside one peer's; `ratio` is ours divided by the peer's."""

    name: str
    value: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None


def compare(name: str, unit: str, samples: Mapping[str, Sequence[float]]) -> list[Row]:
    """A row a peer from the medians of the rounds. `samples` holds `hauberk` and every peer."""
    middle = {subject: median(values) for subject, values in samples.items()}
    ours = middle[OURS]
    return [
        Row(name, ours, unit, peer, value, ours / value) for peer, value in middle.items() if peer != OURS
    ]


def from_mapping(row: Mapping[str, Any]) -> Row:
    return Row(row["name"], row["value"], row["unit"], row["peer"], row["peer_value"], row["ratio"])


def write(rows: Sequence[Row], file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def table(rows: Sequence[Row]) -> str:
    lines = [f"{'name':40} {'ours':>12} {'unit':20} {'peer':22} {'theirs':>12} {'ratio':>6}"]
    for row in rows:
        theirs = "-" if row.peer_value is None else f"{row.peer_value:.2f}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        peer = row.peer or "-"
        lines.append(f"{row.name:40} {row.value:12.2f} {row.unit:20} {peer:22} {theirs:>12} {ratio:>6}")
    return "\n".join(lines)
