"""How much more two workers do than one, told from CPU time: the load itself needs the cores that they would use.

With as many cores as one likes, a proxy is done with its load when its busiest worker is. So the gain is the CPU time
that one worker takes for a request, divided by what the busiest of two takes for a request of the whole load. It
counts what sharing costs in CPU time (caches, contended locks) and how evenly connections fall; a worker that sleeps
while it waits for the other would not show, but there is no such lock on the path of a request.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import load
from tests.bench.peers import envoy, hauberk, nginx
from tests.bench.process import Measured
from tests.bench.progress import Progress
from tests.bench.report import OURS, Measurement
from tests.bench.rows.hops import Subject
from tests.bench.settings import Settings


def workers(settings: Settings, progress: Progress) -> list[Measurement]:
    with TemporaryDirectory() as folder, nginx.backend(Path(folder)) as backend:
        gain: dict[str, list[float]] = {OURS: [], "envoy": []}
        for number in range(1, settings.rounds + 1):
            for name, gains in gain.items():
                one, two = (busiest(subject(name, backend.port, count), settings.seconds) for count in (1, 2))
                gains.append(one / two)
                progress.say(
                    f"workers {number}/{settings.rounds} {name}: one worker {one:.1f} us CPU/request, "
                    f"the busier of two {two:.1f}"
                )
    note = "CPU time of one worker a request / of the busier of two a request of the whole load"
    return [Measurement("workers", "x", gain, [note])]


def subject(name: str, backend_port: int, count: int) -> Subject:
    if name == OURS:
        return partial(hauberk.hop, backend_port=backend_port, workers=count)
    return partial(envoy.hop, backend_port=backend_port, settings=envoy.Settings(workers=count))


def busiest(start: Subject, seconds: int) -> float:
    """Microseconds of CPU time of the worker with the most, for each request of the whole load."""
    with TemporaryDirectory() as folder, start(Path(folder)) as measured:
        load.wrk(measured, load.WARM_UP_SECONDS)
        before = worker_seconds(measured)
        answered = load.wrk(measured, seconds).requests
        after = worker_seconds(measured)
    return max(after[thread] - before.get(thread, 0.0) for thread in after) / answered * 1e6


def worker_seconds(measured: Measured) -> dict[str, float]:
    """CPU time of each thread that is called a worker (`worker-0` in ours, `wrk:worker_0` in Envoy)."""
    found = {
        task.name: int((task / "schedstat").read_text().split()[0]) / 1e9
        for pid in measured.pids
        for task in Path(f"/proc/{pid}/task").iterdir()
        if "worker" in (task / "comm").read_text()
    }
    if not found:
        raise RuntimeError(f"expected threads named worker in {measured.pids}, found none")
    return found
