"""`hauberkd` and `hauberk-node` as they are started by a user, with real Envoys in the gates."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root
HERE = Path(__file__).parent
SCRIPTS = Path(sys.executable).parent

WORKLOADS = """
{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}},
  {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
    "serviceAccountName": "web",
    "containers": [{"name": "c", "image": "host", "command": ["/usr/bin/python3", "-m", "http.server", "8000"],
      "ports": [{"name": "http", "containerPort": 8000}],
      "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}}]}},
  {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
    "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}},
  {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": {
    "containers": [{"name": "c", "image": "host", "command": ["/bin/sh", "-c", "echo here; exec sleep 600"]}]}}
]}
"""


class Instance:
    """One control plane and one node, by their command lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"t{secrets.token_hex(3)}"
        self.cidr = f"10.{100 + secrets.randbelow(100)}.0.0/16"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start_daemon(self) -> subprocess.Popen[bytes]:
        process = self._start("hauberkd", "--key-file", str(self.folder / "key"), "--node", "one")
        self.eventually(lambda: self._pid("hauberkd") == process.pid)
        return process

    def start_node(self) -> subprocess.Popen[bytes]:
        grpc = json.loads((self.folder / "run" / "hauberkd.json").read_text())["grpc"]
        kubeconfig = self.folder / "state" / "node" / "one.kubeconfig"
        process = self._start(
            "hauberk-node",
            "--name",
            "one",
            "--kubeconfig",
            str(kubeconfig),
            "--grpc",
            grpc,
            *self._binaries(),
        )
        self.eventually(lambda: self._pid("node") == process.pid)
        return process

    def clean_up(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait(10)
        subprocess.run(
            [*self._command("hauberk-node"), "--name", "one", "--cleanup", *self._binaries()], check=True
        )

    def kubectl(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"KUBECONFIG": str(self.folder / "state" / "admin.kubeconfig")}
        return subprocess.run(
            ["kubectl", *arguments], input=text, capture_output=True, text=True, env=environment, timeout=30
        )

    def raw(self, path: str) -> str:
        return self.kubectl("get", "--raw", f"/api/v1/nodes/one/proxy{path}").stdout

    def eventually(self, condition: Callable[[], Any], seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            logs = "\n".join(file.read_text()[-3000:] for file in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, logs
            time.sleep(0.05)
        return found

    def envoys_ready(self) -> bool:
        sockets = [str(each) for each in (self.folder / "run" / "pods").glob("*/admin.sock")]
        ready = ["curl", "-s", "--max-time", "2", "http://proxy/ready", "--unix-socket"]
        return len(sockets) == 2 and all(
            b"LIVE" in subprocess.check_output([*ready, each]) for each in sockets
        )

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{program}.log").open("ab") as log:
            process = subprocess.Popen([*self._command(program), *arguments], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def _command(self, program: str) -> list[str]:
        return [
            str(SCRIPTS / program), "--instance", self.name, "--state", str(self.folder / "state"),
            "--run", str(self.folder / "run"), "--pod-cidr", self.cidr,
        ]  # fmt: skip

    def _binaries(self) -> list[str]:
        return ["--sandbox", str(HERE / "sandbox_stand_in.py"), "--proxy", "envoy"]

    def _pid(self, program: str) -> int | None:
        file = self.folder / "run" / f"{program}.json"
        return int(json.loads(file.read_text())["pid"]) if file.exists() else None


@pytest.fixture
def instance() -> Iterator[Instance]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    # pytest's own folders are too deep for the path of a socket.
    with tempfile.TemporaryDirectory(prefix="hbk-") as folder:
        started = Instance(Path(folder))
        try:
            yield started
        finally:
            started.clean_up()
            left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
            assert started.name not in left


def test_a_call_crosses_the_mesh_and_the_node_answers_kubectl(instance: Instance) -> None:
    daemon = instance.start_daemon()
    node = instance.start_node()
    assert instance.kubectl("apply", "-f", "-", text=WORKLOADS).returncode == 0
    waited = instance.kubectl("wait", "--for=condition=Ready", "pod/web", "pod/client", "--timeout=25s")
    assert waited.returncode == 0, waited.stderr

    def call(url: str) -> str:
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "2", url]
        return instance.kubectl("exec", "client", "--", *command).stdout

    instance.eventually(lambda: call("http://web.default.svc.cluster.local/") == "200")
    address = instance.kubectl("get", "pod", "web", "-o", "jsonpath={.status.podIP}").stdout
    assert call(f"http://{address}:8000/") in {"000", "502", "503"}, "no service of the mesh: refused"

    assert instance.kubectl("logs", "client").stdout == "here\n"
    done = instance.kubectl("exec", "client", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr.startswith("err\n")
    assert instance.kubectl("exec", "-i", "client", "--", "cat", text="to and fro").stdout == "to and fro"

    [serial, *_] = [file.stem for file in (instance.folder / "state" / "node" / "svids").glob("*.pem")]
    assert instance.raw(f"/hauberk/v1/svids/{serial}").startswith("-----BEGIN CERTIFICATE-----")
    assert "mixed" not in instance.raw("/hauberk/v1/proxy/default/web/ready")
    refused = instance.kubectl("get", "--raw", "/api/v1/nodes/one/proxy/hauberk/v1/records")
    assert refused.returncode != 0, "an Envoy keeps no records"
    assert json.loads(instance.raw("/pods"))["kind"] == "PodList"

    node.send_signal(signal.SIGKILL)
    node.wait()
    node = instance.start_node()
    instance.eventually(lambda: call("http://web.default.svc.cluster.local/") == "200")
    status = instance.kubectl(
        "get", "pod", "web", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"
    )
    assert status.stdout == "0"

    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    assert instance.envoys_ready(), "proxies go on with what they have"
    instance.start_daemon()
    instance.kubectl("run", "late", "--image=host", "--command", "--", "/bin/sleep", "600")
    assert instance.kubectl("wait", "--for=condition=Ready", "pod/late", "--timeout=25s").returncode == 0
    assert call("http://web.default.svc.cluster.local/") == "200"
    assert instance.kubectl("delete", "pod", "client", "--timeout=20s").returncode == 0

    node.send_signal(signal.SIGTERM)
    assert node.wait(10) == 0, (instance.folder / "hauberk-node.log").read_text()[-3000:]
