"""Starting and ending an instance's processes on this machine."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hauberk.cli.errors import CommandError
from hauberk.cli.instance import Instance
from hauberk.node.proxy_driver import ProxyName
from hauberk.process import send, start_time

START_SECONDS = 30.0
END_SECONDS = 20.0
NODE_NAME = "local"
LAST_LINES = 8

Report = Callable[[str], Awaitable[None]]


async def start(instance: Instance, report: Report, *, proxy: ProxyName | None = None) -> bool:
    """Starts what does not run yet; whether that was anything.

    `proxy` is what each pod's proxy shall be: our own unless told.

    Raises:
        CommandError: a process did not come up, and its last words are in the message; or the node runs with
            another kind of proxy.
    """
    node = instance.node()
    if node is not None and proxy not in {None, node["proxy"]}:
        raise CommandError(
            f"expected a node whose pods' proxies are {proxy}, found one running with {node['proxy']}",
            "run `hauberk down` first, or leave out --proxy",
        )
    started = False
    if instance.daemon() is None:
        await report("starting the control plane")
        for folder in (instance.state, instance.run):
            folder.mkdir(parents=True, exist_ok=True)
        await _start(
            "hauberkd",
            [
                "--instance", instance.name, "--state", str(instance.state), "--run", str(instance.run),
                "--key-file", str(instance.key_file), "--node", NODE_NAME,
            ],
            instance.state / "hauberkd.log",
            instance.daemon,
        )  # fmt: skip
        started = True
    if node is None:
        await report("starting the node")
        daemon = instance.daemon()
        if daemon is None:
            raise CommandError(
                "hauberkd ended as soon as it had started", f"see {instance.state}/hauberkd.log"
            )
        await _start(
            "hauberk-node",
            [
                "--name", NODE_NAME, "--instance", instance.name,
                "--state", str(instance.state), "--run", str(instance.run),
                "--kubeconfig", str(instance.state / "node" / f"{NODE_NAME}.kubeconfig"),
                "--grpc", daemon["grpc"], "--proxy", proxy or "hauberk",
            ],
            instance.state / "hauberk-node.log",
            instance.node,
        )  # fmt: skip
        started = True
    return started


async def stop(instance: Instance, report: Report) -> bool:
    """Ends the node agent, its pods and the control plane; whether anything ran. Idempotent.

    Raises:
        CommandError: something did not end; what is left is named.
    """
    node, daemon = instance.node(), instance.daemon()
    if node is not None:
        await report("stopping the node")
        await _end(node, "hauberk-node")
    await report("stopping the pods")
    cleaning = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hauberk.node", "--name", NODE_NAME, "--instance", instance.name,
        "--state", str(instance.state), "--run", str(instance.run), "--cleanup",
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, said = await cleaning.communicate()
    if cleaning.returncode:
        raise CommandError(
            f"cannot remove the node's pods and networks: {said.decode(errors='replace').strip()[-2000:]}",
            "run `hauberk down` again; if it stays, `ip netns list` and `ip link` show what is left",
        )
    if daemon is not None:
        await report("stopping the control plane")
        await _end(daemon, "hauberkd")
    return node is not None or daemon is not None


async def _start(
    program: str, arguments: list[str], log: Path, running: Callable[[], dict[str, Any] | None]
) -> None:
    process = _spawn(program, arguments, log)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_SECONDS
    while running() is None:
        if process.poll() is not None or loop.time() > deadline:
            end = (
                f"ended with exit code {process.returncode}" if process.poll() is not None
                else f"was not ready within {START_SECONDS:.0f} s"
            )  # fmt: skip
            raise CommandError(
                f"{program} {end}; its last words:\n  {_last_words(log)}", f"the whole log is {log}"
            )
        await asyncio.sleep(0.02)


def _spawn(program: str, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a daemon that outlives this command."""
    module = {"hauberkd": "hauberk.daemon", "hauberk-node": "hauberk.node"}[program]
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def _last_words(log: Path) -> str:
    return "\n  ".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])


async def _end(said: dict[str, Any], program: str) -> None:
    """Ends a process and waits until it is gone: the file it wrote of itself goes before it does."""
    pid, started = int(said["pid"]), str(said["started"])
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not send(pid, started, number):
            return
        deadline = loop.time() + END_SECONDS
        while start_time(pid) == started:
            if loop.time() > deadline:
                break
            await asyncio.sleep(0.02)
        else:
            return
    raise CommandError(
        f"{program} (PID {pid}) did not end, not even by SIGKILL", "see what holds it: cat /proc/PID/stack"
    )
