"""What many rules cost: 1,000 that all select the workload, of which the last one lets the caller in."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import load, objects
from tests.bench.gates import two_places
from tests.bench.peers import envoy, hauberk, nginx
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows.hops import Subject
from tests.bench.settings import Settings

RULES = 1000


def policy_1000(settings: Settings, progress: Progress) -> list[Measurement]:
    """CPU time of the inbound proxy alone, where the rules are: the outbound one would hide what they cost."""
    with (
        TemporaryDirectory() as folder,
        two_places() as (web, ledger),
        nginx.program(Path(folder), objects.LEDGER, objects.PROGRAM_PORT, ledger.in_pod),
    ):
        ours = partial(hauberk.two_hops, web=web, ledger=ledger)
        theirs = partial(envoy.two_hops, web=web, ledger=ledger)
        subjects: dict[str, Subject] = {
            OURS: partial(ours, told=objects.two_workloads(rules=RULES)),
            "one rule": partial(ours, told=objects.two_workloads()),
            "envoy": partial(theirs, settings=envoy.Settings(rules=RULES)),
            "envoy, one rule": theirs,
        }
        cpu: dict[str, list[float]] = {subject: [] for subject in subjects}
        for number in range(1, settings.rounds + 1):
            for subject, start in subjects.items():
                with TemporaryDirectory() as inner, start(Path(inner)) as measured:
                    far = replace(measured, pids=measured.pids[1:])
                    cpu[subject].append(load.saturate("http1", far, settings.seconds).cpu_microseconds)
                progress.say(f"policy_1000 {number}/{settings.rounds} {subject}: {cpu[subject][-1]:.1f} us")
    note = f"{RULES} rules beside one rule of ours, and beside Envoy with as many; the inbound proxy alone"
    return [Measurement("policy_1000", "CPU us/request", cpu, [note])]
