"""The results: `build/bench.json`, one row a peer; `build/bench-run.json`, every round; and a table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.bench.machine import Machine
from tests.bench.spread import Spread

OURS = "hauberk"
NOISY = 0.25
"""A spread wider than this part of its median is marked in the table."""


@dataclass(frozen=True)
class Measurement:
    """One figure of every subject, a value a round. `notes` say what a reader must know of it."""

    name: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    notes: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Row:
    """One figure of ours beside one peer's; `ratio` is ours divided by the peer's."""

    name: str
    value: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None


def rows(measurement: Measurement) -> list[Row]:
    """A row a peer, of medians; a single one without a peer if there is none."""
    name, unit = measurement.name, measurement.unit
    middle = {subject: Spread.of(values).middle for subject, values in measurement.samples.items()}
    ours = middle.pop(OURS)
    if not middle:
        return [Row(name, ours, unit, None, None, None)]
    return [Row(name, ours, unit, peer, value, _ratio(ours, value)) for peer, value in middle.items()]


def _ratio(ours: float, theirs: float) -> float | None:
    """None where there is none: a difference of two latencies in a disturbed run may be below 0."""
    return ours / theirs if theirs > 0 and ours >= 0 else None


def write(measurements: Sequence[Measurement], machine: Machine, settings: object, folder: Path) -> str:
    """Writes the three files of a run into `folder`, and returns the table."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [asdict(row) for measurement in measurements for row in rows(measurement)]
    (folder / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    run = {"machine": asdict(machine), "settings": settings, "rounds": [asdict(one) for one in measurements]}
    (folder / "bench-run.json").write_text(json.dumps(run, indent=1, default=vars) + "\n")
    text = f"{machine}\n{table(measurements)}\n"
    (folder / "bench.txt").write_text(text)
    return text


def table(measurements: Sequence[Measurement]) -> str:
    """A line a row: median and, in brackets, least and greatest round of ours and of the peer."""
    heading = f"{'name':38} {'unit':16} {'ours':>32} {'peer':8} {'theirs':>32} {'ratio':>6}"
    lines = [heading]
    for measurement in measurements:
        lines += _lines(measurement)
    notes = [f"{one.name}: {note}" for one in measurements for note in one.notes]
    marks = [f"! the rounds lie more than {NOISY:.0%} of the median apart"]
    return "\n".join([*lines, "", *marks, *notes])


def _lines(measurement: Measurement) -> Iterator[str]:
    spreads = {subject: Spread.of(values) for subject, values in measurement.samples.items()}
    for row in rows(measurement):
        theirs = _shown(spreads[row.peer]) if row.peer else "-"
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        yield (
            f"{row.name:38} {row.unit:16} {_shown(spreads[OURS]):>32} {row.peer or '-':8} {theirs:>32} {ratio:>6}"
        )


def _shown(spread: Spread) -> str:
    mark = "!" if spread.width > NOISY else " "
    return f"{_number(spread.middle)} [{_number(spread.least)} {_number(spread.greatest)}]{mark}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
