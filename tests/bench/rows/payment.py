"""What the mesh adds to a payment of 1 ms of CPU time in its service: the machine's CPU time, with it and without."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import load, objects
from tests.bench.gates import Place, two_places
from tests.bench.payment_server import calibrated
from tests.bench.peers import envoy, hauberk
from tests.bench.process import Measured, running, says_ready
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows.hops import Subject
from tests.bench.settings import Settings

CALLERS = 4


def payment_overhead(settings: Settings, progress: Progress) -> list[Measurement]:
    """Four callers pay as fast as the service answers. Without the mesh they call within the service's pod."""
    rounds = calibrated()
    with (
        TemporaryDirectory() as folder,
        two_places() as (web, ledger),
        service(Path(folder), ledger, rounds) as program,
    ):
        subjects: dict[str, Subject] = {
            OURS: partial(hauberk.two_hops, web=web, ledger=ledger, told=objects.two_workloads()),
            "no mesh": lambda _: direct(program),
            "envoy": partial(envoy.two_hops, web=web, ledger=ledger),
        }
        machine: dict[str, list[float]] = {subject: [] for subject in subjects}
        parts: dict[str, list[float]] = {subject: [] for subject in subjects}
        for number in range(1, settings.rounds + 1):
            for subject, start in subjects.items():
                with TemporaryDirectory() as inner, start(Path(inner)) as measured:
                    all_parts = replace(measured, pids=(*measured.pids, *program.pids))
                    whole, part = payments(all_parts, settings.seconds)
                machine[subject].append(whole)
                parts[subject].append(part)
                progress.say(
                    f"payment_overhead {number}/{settings.rounds} {subject}: {whole:.0f} us of the machine, "
                    f"{part:.0f} us of proxies and service"
                )
    note = f"a payment is {rounds} rounds of PBKDF2-SHA256, 1 ms of CPU time here; {CALLERS} callers"
    return [
        Measurement("payment_overhead", "CPU us/payment", machine, [note]),
        Measurement("payment_overhead_processes", "CPU us/payment", parts),
    ]


@contextmanager
def service(folder: Path, ledger: Place, rounds: int) -> Iterator[Measured]:
    host, port = objects.LEDGER, objects.PROGRAM_PORT
    command = [
        *ledger.in_pod,
        sys.executable,
        "-m",
        "tests.bench.payment_server",
        host,
        str(port),
        str(rounds),
    ]
    log = folder / "service.log"
    with running(command, says_ready(log), log) as pid:
        yield Measured((pid,), port, host, ledger.in_pod)


@contextmanager
def direct(program: Measured) -> Iterator[Measured]:
    yield replace(program, pids=())


def payments(measured: Measured, seconds: int) -> tuple[float, float]:
    """Microseconds a payment: of the whole machine (its kernel and the callers too), and of `measured`."""
    load.wrk(measured, load.WARM_UP_SECONDS, f"-c{CALLERS}")
    before = machine_seconds(Path("/proc/stat").read_text())
    done = load.wrk(measured, seconds, f"-c{CALLERS}")
    after = machine_seconds(Path("/proc/stat").read_text())
    return (after - before) / done.requests * 1e6, done.cpu_microseconds


def machine_seconds(stat: str) -> float:
    """Time that the processors of /proc/stat were not idle (proc(5)): user, nice, system, irq, softirq."""
    name, user, nice, system, _idle, _iowait, irq, softirq, *_ = stat.splitlines()[0].split()
    if name != "cpu":
        raise ValueError(f"expected the line `cpu` first in /proc/stat, found {name}")
    return sum(map(int, (user, nice, system, irq, softirq))) / os.sysconf("SC_CLK_TCK")
