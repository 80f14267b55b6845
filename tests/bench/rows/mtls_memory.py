"""Resident memory of the inbound proxy for an idle HTTP/1.1 connection over mutual TLS that made a request."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import objects
from tests.bench.gates import two_places
from tests.bench.load import LoadError
from tests.bench.peers import envoy, hauberk, nginx
from tests.bench.process import Measured
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows.hops import Subject
from tests.bench.rows.memory import CONNECTIONS
from tests.bench.settings import Settings


def memory_mtls(settings: Settings, progress: Progress) -> list[Measurement]:
    with (
        TemporaryDirectory() as folder,
        two_places() as (web, ledger),
        nginx.program(Path(folder), objects.LEDGER, objects.PROGRAM_PORT, ledger.in_pod),
    ):
        subjects: dict[str, Subject] = {
            OURS: partial(hauberk.far_hop, web=web, ledger=ledger, told=objects.two_workloads()),
            "envoy": partial(envoy.far_hop, web=web, ledger=ledger),
        }
        each: dict[str, list[float]] = {name: [] for name in subjects}
        for number in range(1, settings.rounds + 1):
            for name, start in subjects.items():
                with TemporaryDirectory() as inner, start(Path(inner)) as measured:
                    grown = growth(measured, Path(inner))
                each[name].append(grown / 1000 / CONNECTIONS)
                progress.say(f"memory_mtls {number}/{settings.rounds} {name}: {each[name][-1]:.1f} KB each")
    return [Measurement("memory_mtls_connection", "KB", each)]


def growth(measured: Measured, folder: Path) -> int:
    """By how much resident memory grows while every connection is open and has had one answer, in bytes."""
    before = measured.resident_bytes()
    place = [measured.host, str(measured.port), str(CONNECTIONS), str(folder), objects.WEB]
    command = [*measured.prefix, sys.executable, "-m", "tests.bench.idle_connections", *place]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdin is not None
        assert caller.stdout is not None
        if caller.stdout.readline() != "ready\n":
            raise LoadError(f"expected {CONNECTIONS} connections, found that {command} ended")
        after = measured.resident_bytes()
        caller.stdin.close()
    return after - before
