"""Bytes through TCP proxies: one plain hop, or two with mutual TLS 1.3 between them."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench import load, objects
from tests.bench.gates import two_places
from tests.bench.load import LoadError, Paced
from tests.bench.peers import envoy, haproxy, hauberk, nginx
from tests.bench.process import Measured
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows.hops import Subject
from tests.bench.settings import Settings

TIMES = 8
"""The server's stream is asked for so often, on one connection."""
BUFFERS = {"1 MiB": None, "256 KiB": 256 << 10, "64 KiB": 64 << 10}
"""Of Envoy, a connection."""


@dataclass(frozen=True)
class Sample:
    """One subject in one round."""

    rate: float
    """MB/s."""
    a_cpu_second: float
    """MB for a second of CPU time of the proxies."""
    through: Paced
    direct: Paced


FIGURES: dict[str, tuple[str, Callable[[Sample], float]]] = {
    "": ("MB/CPU s", lambda one: one.a_cpu_second),
    "_rate": ("MB/s", lambda one: one.rate),
    "_p50": ("us", lambda one: one.through.p50),
    "_p99": ("us", lambda one: one.through.p99),
    "_added_p50": ("us", lambda one: one.through.p50 - one.direct.p50),
    "_added_p99": ("us", lambda one: one.through.p99 - one.direct.p99),
}


def tcp_plain_stream(settings: Settings, progress: Progress) -> list[Measurement]:
    """Through one hop without TLS."""
    with TemporaryDirectory() as folder, nginx.backend(Path(folder)) as backend:
        subjects: dict[str, Subject] = {
            OURS: partial(hauberk.hop, backend_port=backend.port, protocol="tcp"),
            "haproxy": partial(haproxy.hop, backend_port=backend.port, tcp=True),
        }
        for size, count in BUFFERS.items():
            subjects[f"envoy {size}"] = partial(
                envoy.hop,
                backend_port=backend.port,
                protocol="tcp",
                settings=envoy.Settings(buffer_bytes=count),
            )
        return measurements(
            "tcp_plain_stream", measure("tcp_plain_stream", subjects, backend, settings, progress)
        )


def tcp_stream(settings: Settings, progress: Progress) -> list[Measurement]:
    """Through two hops as between two pods: gates, mutual TLS, a policy on the caller's identity."""
    with (
        TemporaryDirectory() as folder,
        two_places() as (web, ledger),
        nginx.program(Path(folder), objects.LEDGER, objects.PROGRAM_PORT, ledger.in_pod) as program,
    ):
        told = objects.two_workloads("tcp")
        subjects: dict[str, Subject] = {OURS: partial(hauberk.two_hops, web=web, ledger=ledger, told=told)}
        for size, count in BUFFERS.items():
            subjects[f"envoy {size}"] = partial(
                envoy.two_hops,
                web=web,
                ledger=ledger,
                protocol="tcp",
                settings=envoy.Settings(buffer_bytes=count),
            )
        return measurements("tcp_stream", measure("tcp_stream", subjects, program, settings, progress))


def measure(
    name: str, subjects: Mapping[str, Subject], direct: Measured, settings: Settings, progress: Progress
) -> dict[str, list[Sample]]:
    """Every subject in turn, `settings.rounds` times, each started anew and warmed by one stream."""
    found: dict[str, list[Sample]] = {subject: [] for subject in subjects}
    for number in range(1, settings.rounds + 1):
        without = load.pace("http1", direct, settings.rate, settings.seconds)
        for subject, start in subjects.items():
            with TemporaryDirectory() as inner, start(Path(inner)) as measured:
                receive(measured, 1)
                before, began = measured.cpu_seconds(), time.monotonic()
                megabytes = receive(measured, TIMES) / 1e6
                gone, spent = time.monotonic() - began, measured.cpu_seconds() - before
                through = load.pace("http1", measured, settings.rate, settings.seconds)
            sample = Sample(megabytes / gone, megabytes / spent, through, without)
            found[subject].append(sample)
            progress.say(
                f"{name} {number}/{settings.rounds} {subject}: {sample.a_cpu_second:.0f} MB/CPU s, "
                f"{sample.rate:.0f} MB/s, p50 {through.p50:.0f} us"
            )
    return found


def measurements(name: str, results: Mapping[str, Sequence[Sample]]) -> list[Measurement]:
    """Envoy's at the buffers that let it move the most bytes in a second of CPU time."""
    each = {subject: median(one.a_cpu_second for one in samples) for subject, samples in results.items()}
    envoys = [subject for subject in results if subject.startswith("envoy")]
    better = max(envoys, key=lambda subject: each[subject])
    sides = {subject: subject for subject in results if subject not in envoys} | {"envoy": better}
    tried = ", ".join(f"{subject} {each[subject]:.0f}" for subject in envoys)
    return [
        Measurement(
            f"{name}{suffix}",
            unit,
            {side: [figure(one) for one in results[subject]] for side, subject in sides.items()},
            [f"best of Envoy's buffers (MB/CPU s: {tried})"] if not suffix else (),
        )
        for suffix, (unit, figure) in FIGURES.items()
    ]


def receive(measured: Measured, times: int) -> int:
    """Bytes of the stream, asked for so many times from the caller's place. Raises LoadError if some are missing."""
    command = ["-m", "tests.bench.stream_reader", measured.host, str(measured.port), str(times)]
    expected = times * nginx.STREAM_BYTES
    text = load.run([*measured.prefix, sys.executable, *command], 60)
    if int(text) != expected:
        raise LoadError(f"expected {expected} bytes, found {text}")
    return expected
