"""A pod's proxy: started in the pod's gate before its program, kept running, drained after it."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import aiohttp

from hauberk.model.kind import Object
from hauberk.model.workload_name import workload_name
from hauberk.node import netns, proxy_admin, proxy_folder
from hauberk.node.network import PodNetwork
from hauberk.node.pod_record import PodRecord
from hauberk.node.proxy_driver import DRAIN_SECONDS, Bootstrap, ProxyDriver
from hauberk.node.rules import UPSTREAM_MARK
from hauberk.process import identified, identify, start_time

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 2
LEAST_WAIT, MOST_WAIT = 0.05, 5.0
STEADY_SECONDS = 10.0
POLL_SECONDS = 0.01


def bootstrap(record: PodRecord, pod: Object, run: Path, trust_domain: str) -> Bootstrap:
    """What the proxy starts from (docs/architecture.md, "Proxy: command line and bootstrap")."""
    metadata, spec = pod["metadata"], pod["spec"]
    namespace, name = record.namespace, record.name
    workload = workload_name(pod)
    kind = "router" if record.gateway else "sidecar"
    addresses = [str(address) for address in record.addresses]
    return {
        "node": {
            "id": f"{kind}~{record.address}~{name}.{namespace}~{namespace}.svc.{trust_domain}",
            "cluster": f"{workload}.{namespace}",
            "metadata": {
                "NAMESPACE": namespace,
                "NAME": name,
                "SERVICE_ACCOUNT": spec.get("serviceAccountName") or "default",
                "WORKLOAD_NAME": workload,
                "INSTANCE_IPS": ",".join(addresses),
                "LABELS": metadata.get("labels") or {},
            },
        },
        "xds": str(run / "xds.sock"),
        "admin": str(run / "admin.sock"),
        "records": str(run / "records.log"),
        "access_log": str(run / "access.log"),
        "source_address": record.address,
        **({"other_source_address": addresses[1]} if len(addresses) > 1 else {}),
        "upstream_mark": UPSTREAM_MARK,
        "workers": 1,
        "drain_seconds": DRAIN_SECONDS,
    }


class ProxyProcess:
    """The one proxy of a pod, over all its starts; a proxy found running is kept."""

    def __init__(
        self,
        record: PodRecord,
        network: PodNetwork,
        run: Path,
        *,
        launcher: Path,
        driver: ProxyDriver,
        restarted: Callable[[], None],
    ) -> None:
        self._record = record
        self._network = network
        self._run = run
        self._pid_file = pid_file(run)
        self._launcher = launcher
        self._driver = driver
        self._restarted = restarted
        self._task: asyncio.Task[None] | None = None

    @property
    def uid(self) -> int:
        return self._record.proxy_uid

    def start(self) -> None:
        """Keeps the proxy running from now on."""
        # It makes files there, and can neither move nor replace one of ours: the folder is sticky and stays root's.
        os.chown(self._run, -1, self.uid)
        self._run.chmod(0o1771)
        self._task = asyncio.create_task(self._keep(), name=f"proxy of {self._record.name}")

    async def ready(self) -> None:
        """Returns once the proxy's admin socket says that it is ready."""
        while not await is_ready(self._run):  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(POLL_SECONDS)

    async def abandon(self) -> None:
        """Lets go of the proxy, which goes on: the agent leaves, the pod stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def stop(self) -> None:
        """Drains the proxy and waits for its end; kills it if it takes too long."""
        await self.abandon()
        if self._running() is not None:
            await self._driver.drain(self._run)
        pid = self._running()
        if pid is None:
            return
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            try:
                async with asyncio.timeout(DRAIN_SECONDS + SHUTDOWN_SECONDS):
                    await _ended(pid, self._started(pid))
            except TimeoutError:
                log.warning(
                    "%s/%s: the proxy did not drain in time; killed",
                    self._record.namespace,
                    self._record.name,
                )
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                await _ended(pid, self._started(pid))
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)

    async def _keep(self) -> None:
        wait = LEAST_WAIT
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                pid = self._running() or await self._launch()
                await _ended(pid, self._started(pid))
            except OSError as error:
                # No room on the disk, or no descriptor left: neither says that the proxy has ended.
                log.error("%s/%s: the proxy: %s", self._record.namespace, self._record.name, error)
                await asyncio.sleep(MOST_WAIT)
                continue
            log.warning(
                "%s/%s: the proxy ended; starting it again", self._record.namespace, self._record.name
            )
            self._restarted()
            if loop.time() - began > STEADY_SECONDS:
                wait = LEAST_WAIT
            await asyncio.sleep(wait)
            wait = min(wait * 2, MOST_WAIT)

    async def _launch(self) -> int:
        # A proxy that an agent started and died before noting it.
        netns.kill_all(self._network.gate)
        (self._run / "admin.sock").unlink(missing_ok=True)
        with (
            self._open(self._driver.output(self._run)) as output,
            self._open(self._run / "proxy.log") as errors,
        ):
            process = await asyncio.create_subprocess_exec(
                str(self._launcher), "proxy",
                "--netns", str(self._network.gate), "--directory", str(self._run), "--uid", str(self.uid),
                "--", *self._driver.command(self._run),
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True,
            )  # fmt: skip
        self._pid_file.write_text(identify(process.pid))
        return process.pid

    def _open(self, file: Path) -> BinaryIO:
        """A file that the proxy appends to, its own: it may open it anew by the name of its standard output."""
        return os.fdopen(proxy_folder.open_to_append(file, self.uid), "ab")

    def _started(self, pid: int) -> str:
        try:
            said, _, started = (self._pid_file).read_text().partition(" ")
        except FileNotFoundError:
            return ""
        return started if said == str(pid) else ""

    def _running(self) -> int | None:
        return identified(self._pid_file)


def pid_file(run: Path) -> Path:
    """Which process a pod's proxy is, by id and start time; `run` is the pod's folder."""
    return run / "node" / "proxy.pid"


async def is_ready(run: Path) -> bool:
    """Whether the proxy of the pod with this folder says that it is ready."""
    try:
        async with (
            proxy_admin.session(run, aiohttp.ClientTimeout(total=2)) as admin,
            admin.get(f"{proxy_admin.URL}/ready") as answer,
        ):
            return answer.status == 200
    except (OSError, aiohttp.ClientError, TimeoutError):
        return False


async def _ended(pid: int, started: str) -> None:
    """Returns when that process has ended, a child of ours or not."""
    if not started or start_time(pid) != started:
        return
    descriptor = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
