"""What many virtual hosts cost: 10,000 in one listener, all of them asked for in turn."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import load
from tests.bench.peers import envoy, hauberk, nginx
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows.hops import Subject
from tests.bench.settings import Settings

HOSTS = 10_000
STRIDE = 7919
"""A prime: neighbours are not asked for one after another."""


def routes_10000(settings: Settings, progress: Progress) -> list[Measurement]:
    with TemporaryDirectory() as folder, nginx.backend(Path(folder)) as backend:
        ours = partial(hauberk.hop, backend_port=backend.port)
        theirs = partial(envoy.hop, backend_port=backend.port)
        subjects: dict[str, tuple[Subject, int]] = {
            OURS: (partial(ours, hosts=HOSTS), HOSTS),
            "one host": (partial(ours, hosts=1), 1),
            "envoy": (partial(theirs, settings=envoy.Settings(hosts=HOSTS)), HOSTS),
            "envoy, one host": (partial(theirs, settings=envoy.Settings(hosts=1)), 1),
        }
        cpu: dict[str, list[float]] = {subject: [] for subject in subjects}
        resident: dict[str, list[float]] = {subject: [] for subject in subjects}
        for number in range(1, settings.rounds + 1):
            for subject, (start, hosts) in subjects.items():
                with TemporaryDirectory() as inner, start(Path(inner)) as measured:
                    resident[subject].append(measured.resident_bytes())
                    script = asking(Path(inner), hosts)
                    load.wrk(measured, load.WARM_UP_SECONDS, "-s", str(script))
                    one = load.wrk(measured, settings.seconds, "-s", str(script))
                cpu[subject].append(one.cpu_microseconds)
                progress.say(
                    f"routes_10000 {number}/{settings.rounds} {subject}: {one.cpu_microseconds:.1f} us CPU/request, "
                    f"{resident[subject][-1] / 1e6:.1f} MB"
                )
    a_host = {
        many: [
            (all_of_them - alone) / 1000 / (HOSTS - 1)
            for all_of_them, alone in zip(resident[many], resident[one], strict=True)
        ]
        for many, one in ((OURS, "one host"), ("envoy", "envoy, one host"))
    }
    note = f"{HOSTS} virtual hosts beside one of ours, and beside Envoy with as many"
    return [
        Measurement("routes_10000", "CPU us/request", cpu, [note]),
        Measurement("routes_10000_memory", "KB/host", a_host),
    ]


def asking(folder: Path, hosts: int) -> Path:
    """A script for wrk that asks for every host in turn; requests are made before the load begins."""
    script = folder / "hosts.lua"
    script.write_text(
        f"""local requests, turn = {{}}, 0
function init()
  for number = 0, {hosts - 1} do
    requests[number] = wrk.format("GET", "/", {{Host = "h" .. number .. ".example"}})
  end
end
function request()
  turn = (turn + {STRIDE}) % {hosts}
  return requests[turn]
end
"""
    )
    return script
