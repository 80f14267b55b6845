"""A call between two pods: two proxies in their gates, mutual TLS 1.3 and an authorization policy between them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench import objects
from tests.bench.gates import two_places
from tests.bench.peers import envoy, hauberk, nginx
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows import grpc
from tests.bench.rows.hops import Results, Sample, Subject, measure, measurements
from tests.bench.settings import Settings

PROTOCOLS = {"HTTP/2": objects.HTTP2, "HTTP/1.1": None}
"""What the two proxies may speak between them."""


def http1_mtls_two_hop(settings: Settings, progress: Progress, *, logged: bool = True) -> list[Measurement]:
    """Each side at its better protocol between the proxies: the one with the least CPU time a request.

    The direct call is made within the server's pod.
    """
    name = "http1_mtls_two_hop" if logged else "http1_mtls_two_hop_unlogged"
    with (
        TemporaryDirectory() as folder,
        two_places() as (web, ledger),
        nginx.program(Path(folder), objects.LEDGER, objects.PROGRAM_PORT, ledger.in_pod) as program,
    ):
        subjects: dict[str, Subject] = {}
        for protocol, pool in PROTOCOLS.items():
            told = objects.two_workloads(pool=pool)
            subjects[f"{OURS} {protocol}"] = partial(
                hauberk.two_hops, web=web, ledger=ledger, told=told, access_log=logged
            )
            subjects[f"envoy {protocol}"] = partial(
                envoy.two_hops,
                web=web,
                ledger=ledger,
                http2=pool is not None,
                settings=envoy.Settings(logged),
            )
        results = measure(name, subjects, program, "http1", settings, progress)
    chosen: dict[str, list[Sample]] = {}
    notes = []
    for side in (OURS, "envoy"):
        better = min((one for one in results if one.startswith(side)), key=lambda one: cpu(results, one))
        chosen[side] = results[better]
        tried = ", ".join(f"{one} {cpu(results, one):.1f}" for one in results if one.startswith(side))
        notes.append(f"{better} between the proxies is the better one for {side} (CPU us/request: {tried})")
    return measurements(name, chosen, notes)


def grpc_mtls_two_hop(settings: Settings, progress: Progress) -> list[Measurement]:
    """Unary calls, HTTP/2 all the way: gRPC has no other."""
    with (
        TemporaryDirectory() as folder,
        two_places() as (web, ledger),
        grpc.program(Path(folder), ledger) as program,
    ):
        told = objects.two_workloads("grpc")
        subjects: dict[str, Subject] = {
            OURS: partial(hauberk.two_hops, web=web, ledger=ledger, told=told),
            "envoy": partial(envoy.two_hops, web=web, ledger=ledger, protocol="grpc"),
        }
        results = measure("grpc_mtls_two_hop", subjects, program, "grpc", settings, progress)
    note = "the server, grpcio in Python, is what limits the rate: compare CPU time and latency"
    return measurements("grpc_mtls_two_hop", results, [note])


def http1_mtls_two_hop_unlogged(settings: Settings, progress: Progress) -> list[Measurement]:
    """The same with nobody's access log on."""
    return http1_mtls_two_hop(settings, progress, logged=False)


def cpu(results: Results | Mapping[str, list[Sample]], subject: str) -> float:
    return median(one.saturated.cpu_microseconds for one in results[subject])
