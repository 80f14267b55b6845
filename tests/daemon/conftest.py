"""hauberkd as a process of its own, kubectl against it, and a node that says that every pod runs."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.spiffe_id import TrustDomain
from hauberk.model import kinds
from hauberk.store.client import ApiError
from hauberk.store.encryption import read_key_file
from hauberk.store.http_client import HttpClient

CONDITION = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}


class Hauberkd:
    """One instance in temporary folders."""

    def __init__(self, folder: Path) -> None:
        self.state, self.run, self.key = folder / "state", folder / "run", folder / "key"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.extra: list[str] = []

    @property
    def arguments(self) -> list[str]:
        places = ["--state", str(self.state), "--run", str(self.run), "--key-file", str(self.key)]
        return [sys.executable, "-m", "hauberk.daemon", *places, "--node", "one", *self.extra]

    @property
    def admin(self) -> Path:
        return self.state / "admin.kubeconfig"

    def start(self) -> dict[str, Any]:
        (self.run / "hauberkd.json").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.arguments, stderr=log)
        deadline = time.monotonic() + 60
        while not (self.run / "hauberkd.json").exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        found: dict[str, Any] = json.loads((self.run / "hauberkd.json").read_text())
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(10)

    def authority(self) -> CertificateAuthority:
        """The CA of this instance, opened beside it: signs whatever a test asks for."""
        domain = TrustDomain("cluster.local")
        return CertificateAuthority.open(self.state, read_key_file(self.key), trust_domain=domain)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        environment = {**os.environ, "KUBECONFIG": str(self.admin), "HOME": str(self.state)}
        done = subprocess.run(
            ["kubectl", *arguments], input=stdin, capture_output=True, text=True, env=environment, timeout=60
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stderr}\n{self.log.read_text()}"
        return done.stdout + done.stderr

    @asynccontextmanager
    async def node(self) -> AsyncIterator[None]:
        """Runs every pod of node `one`, in words only."""
        task = asyncio.create_task(self._be_a_node())
        try:
            yield
        finally:
            assert not task.done(), task.exception()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _be_a_node(self) -> None:
        client = HttpClient.from_kubeconfig(self.state / "node" / "one.kubeconfig")
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "one"},
            "status": {"conditions": [CONDITION]},
        }
        try:
            while True:
                with contextlib.suppress(TimeoutError, OSError, ApiError):  # it is away, or we were late
                    await self._look(client, node)
                await asyncio.sleep(0.05)
        finally:
            await client.close()

    async def _look(self, client: HttpClient, node: dict[str, Any]) -> None:
        try:
            await client.get(kinds.NODE, None, "one")
        except ApiError:
            await client.create(kinds.NODE, node)
            await client.patch(kinds.NODE, None, "one", {"status": node["status"]}, subresource="status")
        found = await client.list(kinds.POD, field_selector="spec.nodeName=one")
        for number, pod in enumerate(found.items):
            meta = pod["metadata"]
            if meta.get("deletionTimestamp"):
                await client.delete(kinds.POD, meta["namespace"], meta["name"], grace_period_seconds=0)
            elif (pod.get("status") or {}).get("phase", "Pending") == "Pending":
                status = {"phase": "Running", "podIP": f"10.66.0.{number + 1}", "conditions": [CONDITION]}
                if "instrument/ends" in (meta.get("annotations") or {}):
                    status["phase"] = "Succeeded"
                await client.patch(
                    kinds.POD, meta["namespace"], meta["name"], {"status": status}, subresource="status"
                )


@pytest.fixture
def hauberkd(tmp_path: Path) -> Iterator[Hauberkd]:
    made = Hauberkd(tmp_path)
    yield made
    if made.process and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
