"""Calls a mesh for minutes while its processes are killed and its objects change; every answer must be a legal one."""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml
from tests.e2e.instance_testing.instance import TestInstance, instance, wait_until
from tests.soak import manifests
from tests.soak.chaos import Chaos
from tests.soak.manifests import CALLERS, NAMESPACE
from tests.soak.model import Action, Call, fault

MOST_SHOWN = 40
MOST_GROWTH = 24 * 1024 * 1024
"""Bytes of resident memory that a proxy may have more at the end than at the beginning."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="how long (600)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the order of events"
    )
    options = parser.parse_args()
    say(f"seed {options.seed}: `--seed {options.seed}` repeats the order of events")
    with instance() as mesh, tempfile.TemporaryDirectory(prefix="hbk-soak-") as name:
        folder = Path(name)
        (folder / "objects.yaml").write_text(yaml.safe_dump_all(manifests.objects()))
        mesh.said("up", "-d", str(folder), timeout=180)
        callers = [CallerLog(mesh, name) for name in CALLERS]
        wait_until(lambda: all(any(log.calls()) for log in callers), 60, "every caller calls")
        for log in callers:
            log.begin = time.time()
        actions = run(Chaos(mesh, folder, random.Random(options.seed)), options.seconds)
        time.sleep(3)
        faults = list(judge([call for log in callers for call in log.calls()], actions))
        grown = memory(mesh)
    for text in faults[:MOST_SHOWN]:
        say(text)
    for text in grown:
        say(text)
    say(f"{len(actions)} events, {len(faults)} illegal answers, {len(grown)} proxies grown")
    return 1 if faults or grown else 0


def run(chaos: Chaos, seconds: float) -> list[Action]:
    """One event after the other."""
    actions: list[Action] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        action = chaos.next()
        say(f"{time.strftime('%H:%M:%S', time.gmtime(action.began))}  {action.name}")
        actions.append(action)
        time.sleep(max(0.0, action.settled - time.time()) + 1)
    return actions


def judge(calls: list[Call], actions: list[Action]) -> Iterator[str]:
    """The illegal answers, in words; and the tally of all."""
    tally = Counter((call.kind, call.status) for call in calls)
    say(
        f"{len(calls)} calls: "
        + ", ".join(f"{kind} {status}: {count}" for (kind, status), count in sorted(tally.items()))
    )
    for call in sorted(calls, key=lambda one: one.began):
        if text := fault(call, actions):
            near = [
                one.name
                for one in actions
                if one.began - 5 < call.ended and call.began < max(one.settled, one.relieved) + 5
            ]
            when = time.strftime("%H:%M:%S", time.gmtime(call.began)) + f"{call.began % 1:.3f}"[1:]
            yield f"{when} {call.kind} ({call.seconds} s): {text}; near: {', '.join(near) or 'nothing'}"


class CallerLog:
    """What a caller's pod printed. Its container is never killed, so it is one file."""

    def __init__(self, mesh: TestInstance, app: str) -> None:
        said = json.loads(mesh.said("get", "pods", "-n", NAMESPACE, "-l", f"app={app}", "-o", "json"))
        (pod,) = said["items"]
        self._folder = mesh.state / "node/pods" / pod["metadata"]["uid"] / "containers/main/0"
        self.begin = 0.0

    def calls(self) -> Iterator[Call]:
        for file in sorted(self._folder.glob("log*")):
            for line in file.read_text().splitlines():
                words = line.partition("[")
                if words[1]:
                    call = Call(*json.loads("[" + words[2]))
                    if call.began >= self.begin:
                        yield call


def memory(mesh: TestInstance) -> list[str]:
    """Proxies of pods as old as the soak that take much more memory than the least of them."""
    found: dict[str, int] = {}
    for file in mesh.run.glob("pods/*/node/proxy.pid"):
        status = Path(f"/proc/{file.read_text().split()[0]}/status").read_text()
        row = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        found[file.parent.parent.name] = int(row.split()[1]) * 1024
    least = min(found.values())
    say("proxies' memory: " + ", ".join(f"{size >> 20} MiB" for size in sorted(found.values())))
    return [
        f"the proxy of pod {uid} has {size >> 20} MiB, another {least >> 20}"
        for uid, size in found.items()
        if size - least > MOST_GROWTH
    ]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
