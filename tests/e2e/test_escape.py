"""Root in a pod, with every capability that a pod can ask for, tries to get out of its sandbox."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from instance_testing.instance import TestInstance

pytestmark = pytest.mark.root

ATTEMPTS = Path(__file__).with_name("attempts")
CAPABILITIES = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
]  # fmt: skip


@pytest.fixture(scope="module")
def prisoner(mesh: TestInstance) -> TestInstance:
    """The mesh with a pod `prisoner` in it, of a service account that may call nobody."""
    pod = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "prisoner", "namespace": "mesh"},
        "spec": {
            "selector": {"matchLabels": {"app": "prisoner", "version": "v1"}},
            "template": {
                "metadata": {"labels": {"app": "prisoner", "version": "v1"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": {"runAsUser": 0},
                    "containers": [
                        {
                            "name": "prisoner",
                            "image": "host",
                            "command": ["/usr/bin/sleep", "infinity"],
                            "securityContext": {"capabilities": {"add": CAPABILITIES}},
                            "volumeMounts": [{"name": "attempts", "mountPath": "/srv/attempts"}],
                        }
                    ],
                    "volumes": [{"name": "attempts", "configMap": {"name": "attempts"}}],
                },
            },
        },
    }
    files = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "attempts", "namespace": "mesh"},
        "data": {file.name: file.read_text() for file in ATTEMPTS.glob("*.py")},
    }
    folder = mesh.folder / "prisoner"
    folder.mkdir()
    for found in (pod, files):
        (folder / f"{found['kind']}.json").write_text(json.dumps(found))
    mesh.said("up", "-d", str(folder), timeout=60)
    return mesh


def attempt(mesh: TestInstance, name: str, *arguments: str, deployment: str = "prisoner") -> dict[str, str]:
    """What came of each attempt in a file of `attempts`: `got …`, or the error."""
    said = mesh.said(
        "exec", "-n", "mesh", f"deploy/{deployment}", "--", "python3", f"/srv/attempts/{name}.py", *arguments
    )
    outcome: dict[str, str] = json.loads(said)
    assert outcome, "nothing was tried"
    return outcome


def successes(outcome: dict[str, str]) -> dict[str, str]:
    return {what: how for what, how in outcome.items() if how.startswith("got ")}


@contextmanager
def listening(namespace: str, address: str, port: int) -> Iterator[None]:
    """A TCP server on the machine that answers all comers, to be sure that what fails does not fail for want of it."""
    program = (
        "import socket, sys\n"
        "s = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
        "print('ready', flush=True)\n"
        "while True:\n    c, _ = s.accept(); c.sendall(b'secret'); c.close()\n"
    )
    enter = ["ip", "netns", "exec", namespace] if namespace else []
    process = subprocess.Popen(
        [*enter, "python3", "-c", program, address, str(port)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait()


def test_it_holds_the_capabilities_that_it_asked_for(prisoner: TestInstance) -> None:
    status = prisoner.said(
        "exec", "-n", "mesh", "deploy/prisoner", "--", "grep", "-E", "^(Uid|CapEff)", "/proc/self/status"
    )
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    assert effective.bit_count() >= len(CAPABILITIES) - 4, f"the other tests would show little: {status}"


def test_no_address_but_through_the_proxy(prisoner: TestInstance) -> None:
    web = prisoner.pod("web")["status"]["podIP"]
    host = json.loads(
        subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, text=True, check=True).stdout
    )
    own = [each["local"] for link in host for each in link["addr_info"]]
    with listening("", "0.0.0.0", 18999):
        outcome = attempt(prisoner, "network", web, *(f"{address}:18999" for address in own))
    assert not successes(outcome), outcome


def test_no_socket_of_another(prisoner: TestInstance) -> None:
    sockets = [str(path) for path in prisoner.run.rglob("*.sock")]
    assert sockets
    name = f"@hauberk-{prisoner.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract:
        abstract.bind("\0" + name[1:])
        abstract.listen()
        outcome = attempt(prisoner, "unix_sockets", *sockets, name)
    assert f"{name} SOCK_STREAM" in outcome
    assert not successes(outcome), outcome


def test_no_file_or_process_of_the_host(prisoner: TestInstance) -> None:
    paths = [
        "/etc/shadow", "/etc/gshadow", str(prisoner.state), str(prisoner.run), str(prisoner.key_file),
        str(prisoner.state / "hauberk.db"), "/root", "/run/netns", "/proc/1/root/etc/shadow", "/proc/kcore",
        "/proc/sysrq-trigger", "/dev/mem", "/dev/kmsg", "/sys/kernel/debug", "/sys/fs/cgroup/release_agent",
    ]  # fmt: skip
    outcome = attempt(prisoner, "files", *paths)
    assert not successes(outcome), outcome


def test_no_privilege_over_the_machine(prisoner: TestInstance) -> None:
    hostname = Path("/proc/sys/kernel/hostname").read_text()
    outcome = attempt(prisoner, "kernel")
    assert not successes(outcome), outcome
    assert Path("/proc/sys/kernel/hostname").read_text() == hostname
