"""HTTP through one plain hop, and through two with mutual TLS: rate, and CPU time a request."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import load
from tests.bench.peers import envoy, haproxy, hauberk, nginx
from tests.bench.process import Measured
from tests.bench.report import OURS, Row, compare

ROUNDS = 3
SECONDS = 3

Subject = Callable[[Path, int], AbstractContextManager[Measured]]
Backend = Callable[[Path], AbstractContextManager[Measured]]
Load = Callable[[Measured, int], load.Result]


def http1_hop() -> list[Row]:
    subjects: dict[str, Subject] = {
        OURS: hauberk.hop, "envoy": envoy.hop, "nginx": nginx.hop, "haproxy": haproxy.hop,
    }  # fmt: skip
    return rows("http1_hop", measure(subjects, load.http1))


def http2_hop() -> list[Row]:
    """HTTP/2 from the client, HTTP/1.1 to the server."""
    return rows("http2_hop", measure({OURS: hauberk.hop, "envoy": envoy.hop}, load.http2))


def http1_mtls_two_hop() -> list[Row]:
    """Each side at its better protocol between the proxies: the one with the least CPU a request."""
    subjects: dict[str, Subject] = {
        f"{name} {protocol}": partial(two_hops, protocol=protocol)
        for name, two_hops in ((OURS, hauberk.two_hops), ("envoy", envoy.two_hops))
        for protocol in ("h2", "http/1.1")
    }
    results = measure(subjects, load.http1)
    better = {name: best(results, name) for name in (OURS, "envoy")}
    return rows(
        "http1_mtls_two_hop", {OURS: results[better[OURS]], better["envoy"]: results[better["envoy"]]}
    )


def best(results: Mapping[str, list[load.Result]], name: str) -> str:
    candidates = [subject for subject in results if subject.startswith(name)]
    return min(candidates, key=lambda one: sorted(r.cpu_microseconds for r in results[one])[ROUNDS // 2])


def measure(
    subjects: Mapping[str, Subject], apply: Load, serve: Backend = nginx.backend
) -> dict[str, list[load.Result]]:
    """Every subject in turn, `ROUNDS` times, each started anew and warmed for a second."""
    results: dict[str, list[load.Result]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            with (
                TemporaryDirectory() as folder,
                serve(Path(folder)) as backend,
                subject(Path(folder), backend.port) as measured,
            ):
                apply(measured, 1)
                results[name].append(apply(measured, SECONDS))
    return results


def rows(name: str, results: Mapping[str, list[load.Result]]) -> list[Row]:
    cpu = {subject: [one.cpu_microseconds for one in found] for subject, found in results.items()}
    rate = {subject: [one.rate for one in found] for subject, found in results.items()}
    return compare(name, "CPU us/request", cpu) + compare(f"{name}_rate", "requests/s", rate)
