# ruff: noqa: ASYNC110, ASYNC221, ASYNC240, E501
"""Pods from their binding to their end, and everything that is found again after the agent was killed."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from tests.node.memory_client import MemoryClient

from hauberk.model.kind import Object
from hauberk.model.kinds import CONFIG_MAP, NODE, POD, SECRET
from hauberk.node import netns
from hauberk.node.agent import Agent
from hauberk.node.cleanup import clean_up
from hauberk.node.control_group import ControlGroups
from hauberk.node.events import EventRecorder
from hauberk.node.network import Network
from hauberk.node.network_policies import NetworkPolicies
from hauberk.node.pod_setup import Node, PodSetup
from hauberk.node.proxy import pid_file
from hauberk.node.proxy_driver import HauberkProxy
from hauberk.node.sandbox import SandboxDriver
from hauberk.node.settings import Settings

pytestmark = pytest.mark.root
HERE = Path(__file__).parent


class NoServices:
    async def start(self, xds: Path, workload: Path) -> None: ...

    async def stop(self) -> None: ...


class House:
    """One node of one instance, whose agent can be killed and started again."""

    def __init__(self, folder: Path, run: Path) -> None:
        instance = f"t{secrets.token_hex(3)}"
        cidr = IPv4Network(f"10.{100 + secrets.randbelow(100)}.0.0/16")
        self.client = MemoryClient()
        self.settings = Settings(
            name="n",
            instance=instance,
            state=folder / "state",
            run=run,
            kubeconfig=Path(),
            grpc="",
            pod_cidr=cidr,
        )
        self.settings.node_state.mkdir(parents=True)
        self.driver = SandboxDriver(HERE / "sandbox_stand_in.py")

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        network = Network(self.settings.instance, self.settings.host_address)
        node = Node(
            settings=self.settings, client=self.client, network=network, policies=NetworkPolicies(self.client, network),
            driver=self.driver, events=EventRecorder(self.client, "n"), services=lambda _record, _pod: NoServices(),
            control_groups=ControlGroups(self.settings.instance), launcher=HERE / "sandbox_stand_in.py", proxy=HauberkProxy(HERE / "proxy_stand_in.py"),
        )  # fmt: skip
        agent = Agent(node, 1)
        ready = asyncio.Event()
        task = asyncio.create_task(agent.run(ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        try:
            yield agent
        finally:
            waiting.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def add(self, name: str, *command: str, **spec: Any) -> Object:
        container = {"name": "c", "image": "host", "command": list(command)} | spec.pop("container", {})
        pod = {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "ns", "uid": f"{name}-{secrets.token_hex(2)}"} | spec.pop("metadata", {}),
            "spec": {"nodeName": "n", "containers": [container]} | spec,
        }  # fmt: skip
        return self.client.put(POD, pod)

    async def until(self, name: str, condition: Callable[[Object], bool], seconds: float = 30) -> Object:
        deadline = time.monotonic() + seconds
        while True:
            pod = self.client.objects.get(("pods", "ns", name), {})
            if pod and condition(pod):
                return pod
            assert time.monotonic() < deadline, f"{name}: {pod.get('status')}"
            await asyncio.sleep(0.01)

    async def gone(self, name: str, seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while ("pods", "ns", name) in self.client.objects:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    def log(self, pod: Object, attempt: int = 0) -> str:
        file = self.settings.pod_state(pod["metadata"]["uid"]) / "containers" / "c" / str(attempt) / "log"
        return file.read_text() if file.exists() else ""

    async def logged(self, pod: Object, text: str) -> None:
        async with asyncio.timeout(5):
            while text not in self.log(pod):
                await asyncio.sleep(0.01)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    # A socket's path has room for no test's name.
    run = Path(tempfile.mkdtemp(prefix="hbk-", dir="/tmp"))
    built = House(tmp_path, run)
    try:
        yield built
    finally:
        await clean_up(built.settings, built.driver)
        await clean_up(built.settings, built.driver)
        shutil.rmtree(run)
        assert netns.names(f"hbk-{built.settings.instance}-") == []


def ready(pod: Object) -> bool:
    return {"type": "Ready", "status": "True"}.items() <= next(
        (each for each in pod.get("status", {}).get("conditions", ()) if each["type"] == "Ready"), {}
    ).items()


def container(pod: Object) -> dict[str, Any]:
    return (pod.get("status", {}).get("containerStatuses") or [{"state": {}}])[0]


async def test_a_pod_runs_is_ready_and_leaves_nothing_when_deleted(house: House) -> None:
    async with house.agent():
        pod = house.add(
            "web", "/bin/sh", "-c", "trap 'echo bye; exit 0' TERM; echo started; while :; do sleep 0.05; done"
        )
        running = await house.until("web", ready)
        assert running["status"]["phase"] == "Running"
        assert running["status"]["podIP"].startswith("10.")
        await house.logged(pod, "started")
        await house.client.delete(POD, "ns", "web")
        await house.gone("web")
        assert list((house.settings.run / "pods").iterdir()) == []
        assert not house.settings.pod_state(pod["metadata"]["uid"]).exists()
        assert netns.names(f"hbk-{house.settings.instance}-pod-") == []


async def test_a_pod_that_ends_has_succeeded_or_failed_and_its_namespaces_are_gone(house: House) -> None:
    async with house.agent():
        house.add("job", "/bin/true", restartPolicy="Never")
        failed = house.add("bad", "/bin/sh", "-c", "echo because; exit 3", restartPolicy="Never")
        await house.until("job", lambda pod: pod.get("status", {}).get("phase") == "Succeeded")
        pod = await house.until("bad", lambda pod: pod.get("status", {}).get("phase") == "Failed")
        assert container(pod)["state"]["terminated"]["exitCode"] == 3
        assert "because" in house.log(failed)
        async with asyncio.timeout(10):
            while netns.names(f"hbk-{house.settings.instance}-pod-"):
                await asyncio.sleep(0.01)


async def test_a_container_that_ends_is_started_again_and_then_backs_off(house: House) -> None:
    async with house.agent():
        house.add("crash", "/bin/sh", "-c", "exit 7")
        pod = await house.until(
            "crash",
            lambda pod: container(pod)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff",
        )
        assert container(pod)["restartCount"] == 1
        assert container(pod)["lastState"]["terminated"]["exitCode"] == 7
        assert not ready(pod)


async def test_init_containers_come_first_and_a_failed_one_fails_the_pod(house: House) -> None:
    async with house.agent():
        init = [{"name": "i", "image": "host", "command": ["/bin/false"]}]
        house.add("init", "/bin/true", restartPolicy="Never", initContainers=init)
        pod = await house.until("init", lambda pod: pod.get("status", {}).get("phase") == "Failed")
        assert container(pod)["state"]["waiting"]


async def test_another_image_is_refused_by_name(house: House) -> None:
    async with house.agent():
        house.add("image", "/bin/true", container={"image": "nginx:1.27"})
        pod = await house.until(
            "image",
            lambda pod: (
                "waiting" in container(pod)["state"]
                and container(pod)["state"]["waiting"].get("message", "") != ""
            ),
        )
        assert 'image "nginx:1.27" is refused' in container(pod)["state"]["waiting"]["message"]


async def test_configuration_reaches_the_program_and_what_is_missing_is_named(house: House) -> None:
    environment = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "a"}}},
        {"name": "B", "value": "$(A)-$(C)-$$(A)"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    async with house.agent():
        pod = house.add(
            "env", "/bin/sh", "-c", "echo $A $B $IP; exec sleep 60", container={"env": environment}
        )
        waiting = await house.until(
            "env", lambda pod: container(pod)["state"].get("waiting", {}).get("message")
        )
        assert container(waiting)["state"]["waiting"] == {
            "reason": "CreateContainerConfigError", "message": 'configmap "m" not found',
        }  # fmt: skip
        house.client.put(CONFIG_MAP, {"metadata": {"name": "m", "namespace": "ns"}, "data": {"a": "x"}})
        running = await house.until("env", ready)
        await house.logged(pod, f"x x-$(C)-$(A) {running['status']['podIP']}")


async def test_probes_decide_on_readiness_and_liveness(house: House) -> None:
    probes = {
        "readinessProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 0.05},
        "livenessProbe": {
            "exec": {"command": ["/bin/sh", "-c", "test ! -e $FILE"]},
            "periodSeconds": 0.05,
            "failureThreshold": 1,
        },
        "ports": [{"name": "web", "containerPort": 7000}],
        "env": [],
    }
    file = house.settings.state / "sick"
    probes["livenessProbe"]["exec"]["command"] = ["/bin/sh", "-c", f"test ! -e {file}"]  # type: ignore[index]
    listen = "import socket; s = socket.create_server(('0.0.0.0', 7000))\nwhile True: s.accept()[0].close()"
    async with house.agent():
        house.add(
            "probed", "/usr/bin/python3", "-c", listen, container=probes, terminationGracePeriodSeconds=1
        )
        await house.until("probed", ready)
        file.touch()
        await house.until("probed", lambda pod: container(pod).get("restartCount", 0) >= 1)


async def test_a_killed_agent_loses_no_container_no_line_and_no_exit_code(
    house: House, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    wait = f"while [ ! -e {alone} ]; do sleep 0.01; done"
    async with house.agent():
        steady = house.add("steady", "/bin/sh", "-c", f"echo one; {wait}; echo two; exec sleep 60")
        ending = house.add("ending", "/bin/sh", "-c", f"{wait}; exit 5", restartPolicy="Never")
        before = await house.until("steady", ready)
        await house.until("ending", ready)
        run = house.settings.pod_run(steady["metadata"]["uid"])
        proxy = pid_file(run).read_text()
    alone.touch()
    await house.logged(steady, "two")
    state = house.settings.pod_state(ending["metadata"]["uid"]) / "containers/c/0/state.json"
    async with asyncio.timeout(10):
        while json.loads(state.read_text()).get("exit_code") != 5:
            await asyncio.sleep(0.01)
    async with house.agent():
        pod = await house.until("ending", lambda pod: pod["status"]["phase"] == "Failed")
        assert container(pod)["state"]["terminated"]["exitCode"] == 5
        after = await house.until("steady", lambda pod: ready(pod) and container(pod)["restartCount"] == 0)
        assert after["status"]["podIP"] == before["status"]["podIP"]
        assert pid_file(run).read_text() == proxy
        assert house.log(steady).count("two") == 1


async def test_a_pod_deleted_while_no_agent_was_there_is_removed(house: House) -> None:
    async with house.agent():
        pod = house.add("lost", "/bin/sleep", "600")
        await house.until("lost", ready)
        run = house.settings.pod_run(pod["metadata"]["uid"])
        proxy = int(pid_file(run).read_text().split()[0])
    del house.client.objects["pods", "ns", "lost"]
    async with house.agent():
        assert not run.exists()
        assert not house.settings.pod_state(pod["metadata"]["uid"]).exists()
        assert not Path(f"/proc/{proxy}/exe").exists()
        assert netns.names(f"hbk-{house.settings.instance}-pod-") == []


async def test_what_lives_in_a_pods_namespaces_unknown_to_anyone_ends_with_the_pod(house: House) -> None:
    async with house.agent() as agent:
        pod = house.add("p", "/bin/sleep", "600")
        await house.until("p", ready)
        [worker] = agent.pods.values()
        stray = await asyncio.create_subprocess_exec(
            "nsenter",
            f"--net={netns.path(f'hbk-{house.settings.instance}-gate-{worker.record.uid}')}",
            "sleep",
            "600",
        )
        await house.client.delete(POD, "ns", "p")
        await house.gone("p")
        assert await asyncio.wait_for(stray.wait(), 5) == -signal.SIGKILL
    assert pod


async def test_a_killed_proxy_is_back_within_a_second(house: House) -> None:
    async with house.agent():
        pod = house.add("p", "/bin/sleep", "600")
        await house.until("p", ready)
        run = house.settings.pod_run(pod["metadata"]["uid"])
        before = pid_file(run).read_text()
        os.kill(int(before.split()[0]), signal.SIGKILL)
        began = time.monotonic()
        while pid_file(run).read_text() == before:
            assert time.monotonic() - began < 1
            await asyncio.sleep(0.01)


CAPTURED = """
import os, pathlib, sys
run, uid = pathlib.Path("."), int(sys.argv[1])
os.setgroups([]); os.setgid(uid); os.setuid(uid)
(run / "own.log").write_text("mine")
(run / "own.log").unlink()
attempts = {
    "signal another process": lambda: (run / "node/proxy.pid").write_text("1 1"),
    "read what the node serves": lambda: os.listdir(run / "node"),
    "put its own folder there": lambda: (run / "node").rename(run / "away"),
    "lead the program's socket away": lambda: (run / "spiffe").rename(run / "away"),
    "answer in the node's place": lambda: (run / "xds.sock").unlink(),
    "start from another bootstrap": lambda: (run / "bootstrap.json").unlink(),
    "own the folder": lambda: run.chmod(0o777),
}
for name, attempt in attempts.items():
    try:
        attempt()
    except PermissionError:
        continue
    print(name)
"""


async def test_a_captured_proxy_cannot_touch_what_the_node_has_in_its_folder(house: House) -> None:
    async with house.agent() as agent:
        pod = house.add("p", "/bin/sleep", "600")
        await house.until("p", ready)
        [worker] = agent.pods.values()
        run = house.settings.pod_run(pod["metadata"]["uid"])
        arguments = [sys.executable, "-c", CAPTURED, str(worker.record.proxy_uid)]
        done = subprocess.run(arguments, cwd=run, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert run.stat().st_uid == 0


async def test_a_gateway_runs_its_proxy_only_and_the_host_has_a_route_to_it(house: House) -> None:
    async with house.agent():
        gateway = {"annotations": {"hauberk.io/gateway": "true"}}
        house.add(
            "gw",
            container={"image": "auto"},
            metadata={"name": "gw", "namespace": "ns", "uid": "gw"} | gateway,
        )
        pod = await house.until("gw", ready)
        address = pod["status"]["podIP"]
        assert (
            address in subprocess.run(["ip", "route", "show", address], capture_output=True, text=True).stdout
        )
        await house.client.delete(POD, "ns", "gw")
        await house.gone("gw")


async def test_volumes_hold_what_they_refer_to(house: House) -> None:
    house.client.put(SECRET, {"metadata": {"name": "s", "namespace": "ns"}, "data": {"k": "dmFsdWU="}})
    async with house.agent():
        token = [{"serviceAccountToken": {"path": "token", "audience": "vault"}}]
        volumes = [
            {"name": "v", "secret": {"secretName": "s"}},
            {"name": "e", "emptyDir": {}},
            {"name": "t", "projected": {"sources": token}},
        ]
        mounted = {"volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "e", "mountPath": "/e"}]}
        pod = house.add("vol", "/bin/sleep", "600", container=mounted, volumes=volumes)
        await house.until("vol", ready)
        folder = house.settings.pod_state(pod["metadata"]["uid"]) / "volumes"
        assert (folder / "v" / "k").read_text() == "value"
        assert (folder / "v" / "k").stat().st_uid >= 0x1000_0000
        assert (folder / "e").is_dir()
        assert (folder / "t" / "token").read_text() == "token of default for vol"


async def test_an_agent_that_comes_back_says_at_once_that_its_pods_are_ready(house: House) -> None:
    """A node that was not heard of had its pods marked; no proxy may hear that before it hears that they are back."""
    probed = {
        "readinessProbe": {"exec": {"command": ["/bin/true"]}, "initialDelaySeconds": 1, "timeoutSeconds": 10}
    }
    async with house.agent():
        house.add("p", "/bin/sleep", "600", container=probed)
        pod = await house.until("p", ready)
    for condition in pod["status"]["conditions"]:
        if condition["type"] == "Ready":
            condition |= {"status": "False", "reason": "NodeNotReady"}
    house.client.put(POD, pod)
    async with house.agent():
        assert ready(house.client.objects["pods", "ns", "p"])


async def test_what_the_control_plane_said_of_a_pod_meanwhile_is_put_right(house: House) -> None:
    async with house.agent():
        house.add("p", "/bin/sleep", "600")
        pod = await house.until("p", ready)
        for condition in pod["status"]["conditions"]:
            if condition["type"] == "Ready":
                condition["status"] = "False"
        house.client.put(POD, pod)
        assert not ready(house.client.objects["pods", "ns", "p"])
        await house.until("p", ready)


async def test_a_node_renews_its_lease_and_takes_back_what_was_said_of_it(house: House) -> None:
    object.__setattr__(house.settings, "lease_seconds", 1)
    async with house.agent():
        lease = ("leases", "kube-node-lease", "n")
        async with asyncio.timeout(5):
            while lease not in house.client.objects or ("nodes", "", "n") not in house.client.objects:
                await asyncio.sleep(0.01)
            before = house.client.objects[lease]["spec"]
            assert before["leaseDurationSeconds"] == 1
            while house.client.objects[lease]["spec"]["renewTime"] == before["renewTime"]:
                await asyncio.sleep(0.01)
            node = house.client.objects["nodes", "", "n"]
            while not node.get("status"):
                await asyncio.sleep(0.01)
                node = house.client.objects["nodes", "", "n"]
            for condition in node["status"]["conditions"]:
                condition["status"] = "Unknown"
            house.client.put(NODE, node)
            while not ready(house.client.objects["nodes", "", "n"]):
                await asyncio.sleep(0.01)


def status_of(pod: Object, name: str) -> dict[str, Any]:
    status = pod.get("status", {})
    known = [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]
    return next((each for each in known if each["name"] == name), {"state": {}})


async def test_hooks_run_after_the_start_and_before_the_stop(house: House, tmp_path: Path) -> None:
    said = tmp_path / "said"
    hooks = {
        "postStart": {"exec": {"command": ["/bin/sh", "-c", f"sleep 0.3; echo started >> {said}"]}},
        "preStop": {"exec": {"command": ["/bin/sh", "-c", f"echo stopping >> {said}"]}},
    }
    program = f"trap 'echo stopped >> {said}; exit 0' TERM; while :; do sleep 0.05; done"
    async with house.agent():
        house.add("p", "/bin/sh", "-c", program, container={"lifecycle": hooks})
        await house.until("p", ready)
        assert said.read_text() == "started\n", "ready only when its hook has ended"
        await house.client.delete(POD, "ns", "p")
        await house.gone("p")
    assert said.read_text().split() == ["started", "stopping", "stopped"]


async def test_a_failed_start_hook_stops_the_container_and_a_slow_stop_hook_has_the_grace_only(
    house: House,
) -> None:
    failing = {"lifecycle": {"postStart": {"exec": {"command": ["/bin/false"]}}}}
    slow = {"lifecycle": {"preStop": {"sleep": {"seconds": 600}}}}
    async with house.agent():
        house.add("bad", "/bin/sleep", "600", container=failing, restartPolicy="Never")
        pod = await house.until("bad", lambda pod: pod.get("status", {}).get("phase") == "Failed")
        assert container(pod)["state"]["terminated"]["exitCode"] == 143
        house.add("slow", "/bin/sleep", "600", container=slow, terminationGracePeriodSeconds=1)
        await house.until("slow", ready)
        await house.client.delete(POD, "ns", "slow", grace_period_seconds=1)
        await house.gone("slow")
    reasons = {obj.get("reason") for key, obj in house.client.objects.items() if key[0] == "events"}
    assert "FailedPostStartHook" in reasons


async def test_a_sidecar_starts_before_the_program_and_ends_after_it(house: House, tmp_path: Path) -> None:
    said = tmp_path / "said"
    loop = f"trap 'echo sidecar ends >> {said}; exit 0' TERM; echo sidecar >> {said}; while :; do sleep 0.05; done"
    sidecar = {
        "name": "side", "image": "host", "command": ["/bin/sh", "-c", loop], "restartPolicy": "Always",
        "startupProbe": {"exec": {"command": ["/bin/sh", "-c", f"sleep 0.3; echo probed >> {said}"]}},
    }  # fmt: skip
    init = {"name": "init", "image": "host", "command": ["/bin/sh", "-c", f"echo init >> {said}"]}
    async with house.agent():
        house.add(
            "job", "/bin/sh", "-c", f"echo program >> {said}; sleep 0.2; exit 0",
            restartPolicy="Never", initContainers=[sidecar, init],
        )  # fmt: skip
        pod = await house.until("job", lambda pod: pod.get("status", {}).get("phase") == "Succeeded")
        assert "terminated" in status_of(pod, "side")["state"]
    assert said.read_text().splitlines() == ["sidecar", "probed", "init", "program", "sidecar ends"]


async def test_a_sidecar_that_dies_starts_again_beside_the_program(house: House) -> None:
    sidecar = {
        "name": "side",
        "image": "host",
        "command": ["/bin/sh", "-c", "sleep 0.3; exit 1"],
        "restartPolicy": "Always",
    }
    async with house.agent():
        house.add("p", "/bin/sleep", "600", initContainers=[sidecar])
        pod = await house.until(
            "p",
            lambda pod: (
                status_of(pod, "side").get("restartCount", 0) >= 1 and pod["status"]["phase"] == "Running"
            ),
        )
        assert container(pod)["restartCount"] == 0


async def test_a_pod_past_its_deadline_fails(house: House) -> None:
    async with house.agent():
        house.add("late", "/bin/sleep", "600", activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
        pod = await house.until("late", lambda pod: pod.get("status", {}).get("phase") == "Failed")
        assert pod["status"]["reason"] == "DeadlineExceeded"
        async with asyncio.timeout(10):
            while netns.names(f"hbk-{house.settings.instance}-pod-"):
                await asyncio.sleep(0.01)
    async with house.agent():
        pod = house.client.objects["pods", "ns", "late"]
        assert pod["status"]["phase"] == "Failed", "a new agent leaves it so"


async def test_after_a_restart_of_the_machine_init_containers_run_again(house: House, tmp_path: Path) -> None:
    said = tmp_path / "said"
    init = {"name": "init", "image": "host", "command": ["/bin/sh", "-c", f"echo init >> {said}"]}
    async with house.agent():
        house.add("p", "/bin/sh", "-c", f"echo program >> {said}; exec sleep 600", initContainers=[init])
        await house.until("p", ready)
    await clean_up(
        house.settings, house.driver
    )  # what a restart of the machine takes: processes, namespaces, RUN
    async with house.agent():
        pod = await house.until("p", lambda pod: container(pod).get("restartCount") == 1 and ready(pod))
        assert status_of(pod, "init")["restartCount"] == 1
        async with asyncio.timeout(10):
            while said.read_text().split() != ["init", "program"] * 2:
                await asyncio.sleep(0.01)


async def test_an_error_of_the_nodes_own_while_a_pod_ends_is_no_end_of_its_worker(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    down, failures = PodSetup.down, [KeyError("one"), ValueError("two")]

    async def fails_at_first(self: PodSetup) -> None:
        if failures:
            raise failures.pop()
        await down(self)

    monkeypatch.setattr(PodSetup, "down", fails_at_first)
    async with house.agent():
        pod = house.add("web", "/bin/sleep", "600")
        await house.until("web", ready)
        proxy = int(pid_file(house.settings.pod_run(pod["metadata"]["uid"])).read_text().split()[0])
        await house.client.delete(POD, "ns", "web")
        await house.gone("web")
        assert not Path(f"/proc/{proxy}/exe").exists()
    assert "Traceback" in caplog.text and "KeyError" in caplog.text
