"""The driver that runs programs from the host's root file system, by `hauberk-sandbox`."""

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hauberk.node.driver import ContainerSpec, ContainerState, DriverError
from hauberk.node.terminal import Terminal, readable, receive
from hauberk.process import identified, identify

START_SECONDS = 20.0
POLL_SECONDS = 0.01
RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class SandboxDriver:
    """`Driver` by one monitor process a container, which outlives the agent."""

    def __init__(self, binary: Path) -> None:
        self._binary = str(binary)

    async def start(self, spec: ContainerSpec) -> None:
        spec.folder.mkdir(parents=True, exist_ok=True)
        file = spec.folder / "spec.json"
        file.write_text(json.dumps(_specification(spec)))
        # Secrets may be among the environment.
        file.chmod(0o600)
        with (spec.folder / "monitor.log").open("ab") as log:
            monitor = await asyncio.create_subprocess_exec(
                self._binary, "run", "--spec", str(file),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        (spec.folder / "monitor.pid").write_text(identify(monitor.pid))
        ended = asyncio.ensure_future(monitor.wait())
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while self.state(spec.folder) is None:
            if ended.done() or asyncio.get_running_loop().time() > deadline:
                if self.state(spec.folder) is not None:
                    return
                if not ended.done():
                    monitor.kill()
                words = (spec.folder / "monitor.log").read_text(errors="replace").strip().splitlines()
                raise DriverError(words[-1] if words else "hauberk-sandbox ended without a word")
            await asyncio.sleep(POLL_SECONDS)

    def state(self, folder: Path) -> ContainerState | None:
        try:
            state = msgspec.json.decode((folder / "state.json").read_bytes(), type=ContainerState)
        except FileNotFoundError:
            return None
        if state.phase == "running" and not _alive(folder):
            # Whoever kills the monitor takes the exit code with it; the monitor writes before it ends.
            state = msgspec.json.decode((folder / "state.json").read_bytes(), type=ContainerState)
            if state.phase == "running":
                return msgspec.structs.replace(
                    state, phase="exited", exit_code=137, signal=9, reason="ContainerStatusUnknown",
                    message="the container's monitor was killed, and the container with it",
                )  # fmt: skip
        return state

    async def wait(self, folder: Path) -> ContainerState:
        while True:
            try:
                descriptor = _watch_monitor(folder)
                if descriptor is not None:
                    try:
                        await readable(descriptor)
                    finally:
                        os.close(descriptor)
                state = self.state(folder)
            except OSError as error:
                # No descriptor left: that says nothing about the container.
                log.error("%s: %s; looking again in %g s", folder, error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if state is None:
                return ContainerState(
                    phase="exited",
                    exit_code=128,
                    reason="ContainerStatusUnknown",
                    message="the container has no state file",
                )
            if state.phase == "exited":
                return state
            await asyncio.sleep(POLL_SECONDS)

    async def signal(self, folder: Path, number: int) -> None:
        try:
            control = json.loads((folder / "spec.json").read_text())["control"]
            _reader, writer = await asyncio.open_unix_connection(control)
            writer.write(json.dumps({"op": "signal", "signal": number}).encode() + b"\n")
            await writer.drain()
            writer.close()
        except (FileNotFoundError, ConnectionError):
            # A monitor that has no control socket yet, or never will: its death is its container's.
            pid = _monitor(folder)
            if number == signal.SIGKILL and pid is not None:
                os.kill(pid, signal.SIGKILL)

    async def execute(self, folder: Path, arguments: Sequence[str]) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await self._exec(folder, [], arguments, stdin=pipe, stdout=pipe, stderr=pipe)

    async def execute_on_terminal(
        self, folder: Path, arguments: Sequence[str]
    ) -> tuple[asyncio.subprocess.Process, Terminal]:
        ours, theirs = socket.socketpair()
        with ours:
            pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
            with theirs:
                process = await self._exec(
                    folder, ["--tty"], arguments, stdin=theirs, stdout=none, stderr=pipe
                )
            try:
                terminal = await receive(ours)
            except asyncio.CancelledError:
                process.kill()
                raise
        if terminal is None:
            said = await process.stderr.read() if process.stderr is not None else b""
            raise DriverError(said.decode(errors="replace").strip() or "exec: no terminal was opened")
        return process, terminal

    async def _exec(
        self, folder: Path, options: Sequence[str], arguments: Sequence[str], **streams: Any
    ) -> asyncio.subprocess.Process:
        state = self.state(folder)
        if state is None or state.phase != "running":
            raise DriverError("exec: expected a running container, found one that is not")
        return await asyncio.create_subprocess_exec(
            self._binary, "exec", "--state", str(folder / "state.json"), *options, "--", *arguments, **streams
        )


def _specification(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "id": spec.id,
        "netns": str(spec.network),
        "uid_base": spec.uid_base,
        "gid_base": spec.uid_base,
        "hostname": spec.hostname,
        "args": list(spec.arguments),
        "env": dict(spec.environment),
        "cwd": spec.directory,
        "user": {"uid": spec.user, "gid": spec.group, "groups": list(spec.groups)},
        "capabilities": list(spec.capabilities),
        "mounts": [
            {
                "source": str(mount.source),
                "sub_path": mount.sub_path or None,
                "target": mount.target,
                "readonly": mount.readonly,
            }
            for mount in spec.mounts
        ],
        "hidden": [str(path) for path in spec.hidden],
        "files": dict(spec.files),
        "cgroups": [str(path) for path in spec.control_groups],
        "log": str(spec.log),
        "state": str(spec.folder / "state.json"),
        "control": str(spec.control),
    }


def _monitor(folder: Path) -> int | None:
    return identified(folder / "monitor.pid")


def _alive(folder: Path) -> bool:
    return _monitor(folder) is not None


def _watch_monitor(folder: Path) -> int | None:
    pid = _monitor(folder)
    if pid is None:
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
