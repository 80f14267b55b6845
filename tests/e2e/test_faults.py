"""Every process of an instance is killed by SIGKILL, and nothing is lost but what that process alone held."""

import json
import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from instance_testing.instance import TestInstance, wait_until

from hauberk.store.kubeconfig import format_kubeconfig, read_kubeconfig

pytestmark = pytest.mark.root

MANIFESTS = Path(__file__).with_name("manifests")


class Pods:
    """What two pods saw, read from their log files: no API is asked.

    `steady` calls the web service all the time; `hold` speaks over one TCP connection ten times a second.
    """

    def __init__(self, mesh: TestInstance) -> None:
        self._steady, self._hold = (self._log(mesh, app) for app in ("steady", "hold"))

    def since(self, moment: float) -> list[tuple[float, int]]:
        """Seconds after `moment` at which a call began, and its status; 0 for no answer."""
        found = []
        for line in self._steady.read_text().splitlines():
            began, status = line.split()[-2:]
            found.append((float(began) - moment, int(status)))
        return [each for each in found if each[0] > 0]

    def statuses(self, moment: float) -> list[int]:
        return [status for _, status in self.since(moment)]

    def connection_lives(self) -> bool:
        """Whether the held connection, still the first one, goes on to carry bytes."""
        before = self._hold.stat().st_size
        wait_until(lambda: self._hold.stat().st_size > before, 5, "the held connection carries bytes")
        return "closed" not in self._hold.read_text()

    @staticmethod
    def _log(mesh: TestInstance, app: str) -> Path:
        return mesh.state / "node/pods" / mesh.pod(app)["metadata"]["uid"] / "containers" / app / "0/log"


@pytest.fixture
def pods(mesh: TestInstance) -> Pods:
    return Pods(mesh)


def proxy_pid(mesh: TestInstance, app: str) -> int:
    """The proxy of a pod: the process whose bootstrap is that pod's."""
    bootstrap = f"{mesh.run}/pods/{mesh.pod(app)['metadata']['uid']}/bootstrap.json"
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if bootstrap in words and "hauberk-proxy" in words[0]:
                return int(process.name)
    raise AssertionError(f"no proxy runs with {bootstrap}")


def test_a_killed_proxy_takes_only_its_own_pods_connections(mesh: TestInstance, pods: Pods) -> None:
    killed = time.time()
    os.kill(proxy_pid(mesh, "web"), signal.SIGKILL)
    wait_until(lambda: 200 in pods.statuses(killed + 1), 10, "calls to web go on")
    failed = [began for began, status in pods.since(killed) if status != 200]
    assert not failed or max(failed) < 1, failed
    assert pods.connection_lives()


def test_a_killed_monitor_takes_its_container_alone_and_leaves_nothing_of_it(
    mesh: TestInstance, pods: Pods
) -> None:
    """The monitor is a container's parent and keeper: what it held ends, is reported, and starts again."""
    pod = mesh.pod("web")
    folder = mesh.state / "node/pods" / pod["metadata"]["uid"] / "containers/web/0"
    state = json.loads((folder / "state.json").read_text())
    namespace = Path(f"/proc/{state['pid']}/ns/pid").stat().st_ino
    assert living_in(namespace)
    killed = time.time()
    os.kill(state["monitor"], signal.SIGKILL)
    status = wait_until(
        lambda: (
            (found := mesh.object("pod", pod["metadata"]["name"], "mesh")["status"]["containerStatuses"][0])[
                "restartCount"
            ]
            and found["ready"]
            and found
        ),
        40,
        "the container starts again",
    )
    ended = status["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")
    assert "monitor was killed" in ended["message"]
    assert not living_in(namespace)
    back = time.time()
    wait_until(lambda: 200 in pods.statuses(back), 20, "calls to web go on")
    assert killed < back
    assert pods.connection_lives()
    assert mesh.said("logs", "-n", "mesh", "--previous", pod["metadata"]["name"]) is not None


def living_in(pid_namespace: int) -> list[int]:
    """All processes of the machine in that PID namespace that are not dead already."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                if (process / "ns/pid").stat().st_ino == pid_namespace and state != "Z":
                    found.append(int(process.name))
            except OSError:
                continue
    return found


def test_calls_logs_and_exit_codes_outlive_the_node_agent(mesh: TestInstance, pods: Pods) -> None:
    mesh.said("apply", "-f", "-", text=json.dumps(JOB))
    wait_until(lambda: "began" in mesh.hauberk("logs", "-n", "mesh", "job/late").stdout, 15, "the Job runs")
    killed = time.time()
    os.kill(mesh.pid_of("node"), signal.SIGKILL)
    os.kill(late(mesh)["pid"], signal.SIGTERM)  # to the container's init, which passes it on
    wait_until(lambda: exit_code_kept(mesh), 15, "the Job's exit code is kept")
    wait_until(lambda: len(pods.statuses(killed)) > 20, 15, "calls go on without the agent")
    mesh.said("up", "-d", str(MANIFESTS), timeout=90)
    wait_until(
        lambda: mesh.object("job", "late", "mesh")["status"].get("failed"), 15, "the Job's end is known"
    )
    (pod,) = json.loads(mesh.said("get", "pods", "-n", "mesh", "-l", "job-name=late", "-o", "json"))["items"]
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7
    assert mesh.said("logs", "-n", "mesh", pod["metadata"]["name"]).split() == ["began", "ended"]
    assert set(pods.statuses(killed)) == {200}
    assert pods.connection_lives()


def test_a_silent_node_is_not_ready_and_comes_back_by_itself(
    mesh: TestInstance, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ready(kind: str, name: str, namespace: str) -> str:
        conditions = mesh.object(kind, name, namespace)["status"]["conditions"]
        found: str = next(each["status"] for each in conditions if each["type"] == "Ready")
        return found

    def endpoints() -> int:
        slices = json.loads(mesh.said("get", "endpointslices", "-n", "mesh", "-o", "json"))["items"]
        return sum(each["conditions"]["ready"] for found in slices for each in found.get("endpoints") or ())

    began = time.time()
    monkeypatch.setenv("HAUBERK_NODE_LEASE_SECONDS", "4")
    os.kill(mesh.pid_of("node"), signal.SIGKILL)
    mesh.said("up", "-d", str(MANIFESTS), timeout=90)
    web = mesh.pod("web")["metadata"]["name"]
    wait_until(lambda: endpoints() >= 3, 15, "the services have their endpoints")
    before = endpoints()
    os.kill(mesh.pid_of("node"), signal.SIGKILL)
    wait_until(lambda: ready("node", "local", "") == "Unknown", 30, "the node is not ready")
    wait_until(lambda: ready("pod", web, "mesh") == "False", 15, "its pods are not ready")
    wait_until(lambda: endpoints() == 0, 15, "the endpoints have left")
    assert mesh.object("pod", web, "mesh")["status"]["phase"] == "Running", "nothing is evicted"
    mesh.said("up", "-d", str(MANIFESTS), timeout=90)
    wait_until(lambda: ready("node", "local", "") == "True", 15, "the node is ready")
    wait_until(lambda: endpoints() == before, 15, "the endpoints are back")
    wait_until(lambda: len(pods.statuses(began)) > 50, 10, "calls were made")
    assert set(pods.statuses(began)) == {200}, "proxies go on with what they have"
    assert pods.connection_lives()


def test_the_node_takes_up_other_roots_and_nothing_notices(mesh: TestInstance, pods: Pods) -> None:
    file = mesh.state / "node" / "local.kubeconfig"
    before, began = read_kubeconfig(file), time.time()
    other = file.with_name("other")
    roots = before.certificate_authority + other_root()
    other.write_text(
        format_kubeconfig(replace(before, certificate_authority=roots), user="system:node:local")
    )
    said = (mesh.run / "node.json").read_text()
    other.replace(file)
    log = mesh.state / "hauberk-node.log"
    wait_until(lambda: "starting anew with a new credential" in log.read_text(), 20, "the agent starts anew")
    wait_until((mesh.run / "node.json").exists, 30, "it is back")
    after = json.loads((mesh.run / "node.json").read_text())
    assert {key: after[key] for key in ("pid", "started")} == {
        key: json.loads(said)[key] for key in ("pid", "started")
    }
    assert mesh.client("echo", "still here").strip() == "still here"
    assert set(pods.statuses(began)) == {200}
    assert pods.connection_lives()


def other_root() -> bytes:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    ca = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return ca.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_calls_outlive_the_control_plane(mesh: TestInstance, pods: Pods) -> None:
    killed = time.time()
    os.kill(mesh.pid_of("hauberkd"), signal.SIGKILL)
    wait_until(lambda: len(pods.statuses(killed)) > 50, 10, "calls go on without the control plane")
    mesh.said("up", "-d", str(MANIFESTS), timeout=90)
    back = time.time()
    wait_until(lambda: len(pods.statuses(back)) > 10, 10, "calls go on with the new one")
    assert set(pods.statuses(killed)) == {200}
    assert pods.connection_lives()
    wait_until(
        lambda: mesh.hauberk("proxy-status", "-n", "mesh").stdout.count("SYNCED") >= 7 * 4, 15, "proxies"
    )


JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "late", "namespace": "mesh"},
    "spec": {
        "backoffLimit": 0,
        "template": {
            "spec": {
                "serviceAccountName": "client",
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "late",
                        "image": "host",
                        "command": [
                            "/bin/sh",
                            "-c",
                            "trap 'echo ended; exit 7' TERM; echo began; while :; do sleep 0.1; done",
                        ],
                    }
                ],
            }
        },
    },
}


def late(mesh: TestInstance) -> dict[str, Any]:
    """What the sandbox wrote down of the Job's container."""
    (state,) = mesh.state.glob("node/pods/*/containers/late/0/state.json")
    found: dict[str, Any] = json.loads(state.read_text())
    return found


def exit_code_kept(mesh: TestInstance) -> bool:
    """Whether the sandbox wrote the exit code down, with no agent there."""
    return late(mesh).get("exit_code") == 7
