"""Requests through one hop or two: CPU time, rate, and latency at a fixed rate with and without the proxies."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import load
from tests.bench.load import Paced, Saturated
from tests.bench.peers import envoy, haproxy, hauberk, nginx
from tests.bench.process import Measured
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.settings import Settings

Subject = Callable[[Path], AbstractContextManager[Measured]]
"""Starts in a folder of its own what is to be measured."""


@dataclass(frozen=True)
class Sample:
    """One subject in one round. `direct` and `direct_alone` are the same loads without a proxy, in the same round."""

    saturated: Saturated
    paced: Paced
    direct: Paced
    alone: Paced
    """On one connection."""
    direct_alone: Paced


Results = Mapping[str, Sequence[Sample]]


def http1_hop(settings: Settings, progress: Progress, *, logged: bool = True) -> list[Measurement]:
    name = "http1_hop" if logged else "http1_hop_unlogged"
    with TemporaryDirectory() as folder, nginx.backend(Path(folder)) as backend:
        subjects: dict[str, Subject] = {
            OURS: partial(hauberk.hop, backend_port=backend.port, access_log=logged),
            "envoy": partial(envoy.hop, backend_port=backend.port, settings=envoy.Settings(logged)),
            "nginx": partial(nginx.hop, backend_port=backend.port, access_log=logged),
            "haproxy": partial(haproxy.hop, backend_port=backend.port, access_log=logged),
        }
        return measurements(name, measure(name, subjects, backend, "http1", settings, progress))


def http1_hop_unlogged(settings: Settings, progress: Progress) -> list[Measurement]:
    """The same with nobody's access log on."""
    return http1_hop(settings, progress, logged=False)


def http2_hop(settings: Settings, progress: Progress) -> list[Measurement]:
    """HTTP/2 from the caller, HTTP/1.1 to the server; called directly, the server speaks HTTP/2 itself."""
    with (
        TemporaryDirectory() as folder,
        nginx.backend(Path(folder)) as backend,
        nginx.backend(Path(folder), http2=True) as direct,
    ):
        subjects: dict[str, Subject] = {
            OURS: partial(hauberk.hop, backend_port=backend.port),
            "envoy": partial(envoy.hop, backend_port=backend.port),
            "nginx": partial(nginx.hop, backend_port=backend.port, front_http2=True),
            "haproxy": partial(haproxy.hop, backend_port=backend.port, front_http2=True),
        }
        results = measure("http2_hop", subjects, direct, "http2", settings, progress)
        return measurements("http2_hop", results)


def measure(
    name: str,
    subjects: Mapping[str, Subject],
    direct: Measured,
    protocol: load.Protocol,
    settings: Settings,
    progress: Progress,
) -> dict[str, list[Sample]]:
    """Every subject in turn, `settings.rounds` times, each started anew and warmed."""
    found: dict[str, list[Sample]] = {subject: [] for subject in subjects}
    for number in range(1, settings.rounds + 1):
        without = load.pace(protocol, direct, settings.rate, settings.seconds)
        without_alone = load.pace_alone(protocol, direct, settings.seconds)
        progress.say(f"{name} {number}/{settings.rounds} direct: p50 {without.p50:.0f} us")
        for subject, start in subjects.items():
            with TemporaryDirectory() as folder, start(Path(folder)) as measured:
                saturated = load.saturate(protocol, measured, settings.seconds)
                paced = load.pace(protocol, measured, settings.rate, settings.seconds)
                alone = load.pace_alone(protocol, measured, settings.seconds)
            found[subject].append(Sample(saturated, paced, without, alone, without_alone))
            progress.say(
                f"{name} {number}/{settings.rounds} {subject}: {saturated.cpu_microseconds:.1f} us CPU/request, "
                f"{saturated.rate:.0f} requests/s, p50 {paced.p50:.0f} us, p99 {paced.p99:.0f} us, "
                f"alone p50 {alone.p50:.0f} us"
            )
    return found


def measurements(name: str, results: Results, notes: Sequence[str] = ()) -> list[Measurement]:
    def of(suffix: str, unit: str, figure: Callable[[Sample], float]) -> Measurement:
        samples = {subject: [figure(one) for one in found] for subject, found in results.items()}
        return Measurement(f"{name}{suffix}", unit, samples, notes if not suffix else ())

    return [
        of("", "CPU us/request", lambda one: one.saturated.cpu_microseconds),
        of("_rate", "requests/s", lambda one: one.saturated.rate),
        of("_p50", "us", lambda one: one.paced.p50),
        of("_p99", "us", lambda one: one.paced.p99),
        of("_added_p50", "us", lambda one: one.paced.p50 - one.direct.p50),
        of("_added_p99", "us", lambda one: one.paced.p99 - one.direct.p99),
        of("_alone_p50", "us", lambda one: one.alone.p50),
        of("_alone_added_p50", "us", lambda one: one.alone.p50 - one.direct_alone.p50),
    ]
