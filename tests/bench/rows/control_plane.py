"""The control plane's rows, each in a process of its own so that gRPC's threads disturb no other row."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.control_plane.objects import PER_SERVICE
from tests.bench.curve import draw
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.settings import FULL, Settings

CURVE = (50, 250, 1000, 2500, 5000)
"""Services, each with twenty endpoints: 1,000 to 100,000 of these."""
CURVE_STREAMS = 20
CURVE_PICTURE = Path("build/control-plane-curve.svg")


def push_one_endpoint(settings: Settings, progress: Progress) -> list[Measurement]:
    progress.say(f"push_one_endpoint: 500 streams synchronise, then {settings.pushes} changes")
    return _measured(_run("push", settings.pushes), progress)


def rolling_deployment(settings: Settings, progress: Progress) -> list[Measurement]:
    rounds = settings.pushes * 4
    progress.say(
        f"rolling_deployment: 500 streams synchronise, then {rounds} pods are replaced, one every 0.3 s"
    )
    return _measured(_run("rolling", rounds), progress)


def control_plane_curve(settings: Settings, progress: Progress) -> list[Measurement]:
    """Cost over endpoints, and its exponent: the slope of a straight line through the logarithms."""
    sizes = CURVE if settings == FULL else CURVE[:3]
    curves: dict[str, list[tuple[float, float]]] = {}
    for services in sizes:
        progress.say(f"control_plane_curve: {services * PER_SERVICE} endpoints, {CURVE_STREAMS} streams")
        found = _run("curve", settings.pushes, "--services", str(services), "--streams", str(CURVE_STREAMS))
        for name, (value, unit) in found.items():
            curves.setdefault(f"{name}, {unit}", []).append((services * PER_SERVICE, value))
    CURVE_PICTURE.parent.mkdir(exist_ok=True)
    CURVE_PICTURE.write_text(draw("Cost of the control plane", "endpoints", curves))
    figures = {}
    for title, points in curves.items():
        name, unit = title.split(", ")
        figures[f"control_plane_curve_{name}"] = (points[-1][1], f"{unit}, {points[-1][0]:.0f} endpoints")
        figures[f"control_plane_curve_{name}_exponent"] = (exponent(points), "of endpoints")
    return _measured(figures, progress)


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Of the power law that fits best, by least squares of logarithms."""
    logarithms = [(math.log(x), math.log(max(y, 1e-9))) for x, y in points]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*logarithms, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in logarithms)
    return above / sum((x - mean_x) ** 2 for x, _ in logarithms)


def _run(shape: str, rounds: int, *more: str) -> dict[str, tuple[float, str]]:
    command = [sys.executable, "-m", "tests.bench.control_plane.load", shape, "--rounds", str(rounds), *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {name: (value, unit) for name, (value, unit) in json.loads(done.stdout).items()}


def _measured(figures: dict[str, tuple[float, str]], progress: Progress) -> list[Measurement]:
    for name, (value, unit) in figures.items():
        progress.say(f"{name}: {value:.2f} {unit}")
    return [Measurement(name, unit, {OURS: [value]}) for name, (value, unit) in figures.items()]
