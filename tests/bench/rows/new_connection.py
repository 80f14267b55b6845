"""A new connection and one request each, through two hops with a handshake of mutual TLS between them every time."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import load, objects
from tests.bench.gates import two_places
from tests.bench.load import Saturated
from tests.bench.peers import envoy, hauberk, nginx
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows.hops import Subject
from tests.bench.settings import Settings


def mtls_new_connection(settings: Settings, progress: Progress) -> list[Measurement]:
    """The caller closes after each answer; the outbound proxy has one request for each connection, too.

    HTTP/1.1 all the way. The connections between the inbound proxy and its program stay.
    """
    name = "mtls_new_connection"
    with (
        TemporaryDirectory() as folder,
        two_places() as (web, ledger),
        nginx.program(Path(folder), objects.LEDGER, objects.PROGRAM_PORT, ledger.in_pod),
    ):
        told = objects.two_workloads(pool=objects.ONE_REQUEST_EACH)
        one_each = envoy.Settings(requests_a_connection=1)
        subjects: dict[str, Subject] = {
            OURS: partial(hauberk.two_hops, web=web, ledger=ledger, told=told),
            "envoy": partial(envoy.two_hops, web=web, ledger=ledger, settings=one_each),
        }
        found: dict[str, list[Saturated]] = {subject: [] for subject in subjects}
        for number in range(1, settings.rounds + 1):
            for subject, start in subjects.items():
                with TemporaryDirectory() as inner, start(Path(inner)) as measured:
                    load.wrk(measured, load.WARM_UP_SECONDS, "-H", "Connection: close")
                    one = load.wrk(measured, settings.seconds, "-H", "Connection: close")
                found[subject].append(one)
                progress.say(
                    f"{name} {number}/{settings.rounds} {subject}: {one.cpu_microseconds:.0f} us CPU/connection, "
                    f"{one.rate:.0f} connections/s"
                )
    cpu = {subject: [one.cpu_microseconds for one in samples] for subject, samples in found.items()}
    rate = {subject: [one.rate for one in samples] for subject, samples in found.items()}
    return [
        Measurement(name, "CPU us/connection", cpu),
        Measurement(f"{name}_rate", "connections/s", rate),
    ]
