"""A real Envoy in the proxy's place, under the same control plane.

It writes no call records and no metrics under Istio's names: with it `why`, `tap` and `edges` have nothing to show.
"""

import asyncio
import logging
from pathlib import Path

import aiohttp
import msgspec

from hauberk.mesh.envoy_bootstrap import EnvoyBootstrap
from hauberk.node import proxy_admin
from hauberk.node.proxy_driver import DRAIN_SECONDS, Bootstrap, ProxyName, write_whole

log = logging.getLogger(__name__)

CONNECTIONS = "server.total_connections"
POLL_SECONDS = 0.05
FLUSH_MILLISECONDS = 200
"""Of the access log; Envoy's own default is ten seconds."""
LONGEST_ANSWER = 64 * 1024


class EnvoyProxy:
    """An Envoy of version 1.40 or newer."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary

    @property
    def name(self) -> ProxyName:
        return "envoy"

    @property
    def keeps_records(self) -> bool:
        return False

    def prepare(self, run: Path, bootstrap: Bootstrap) -> None:
        theirs = EnvoyBootstrap(
            node=bootstrap["node"],
            xds=bootstrap["xds"],
            admin=bootstrap["admin"],
            source_address=bootstrap["source_address"],
            other_source_address=bootstrap.get("other_source_address", ""),
            upstream_mark=bootstrap["upstream_mark"],
        )
        write_whole(run / "bootstrap.json", theirs.to_json())

    def command(self, run: Path) -> list[str]:
        # Hot restart would need shared memory, of which a gate has none.
        return [
            str(self._binary), "--config-path", str(run / "bootstrap.json"), "--concurrency", "1",
            "--disable-hot-restart", "--log-level", "warning",
            "--file-flush-interval-msec", str(FLUSH_MILLISECONDS),
            "--drain-time-s", str(DRAIN_SECONDS), "--drain-strategy", "immediate",
        ]  # fmt: skip

    def output(self, run: Path) -> Path:
        """The control plane tells an Envoy to write its access log to standard output."""
        return run / "access.log"

    async def drain(self, run: Path) -> None:
        """New connections are refused and live ones told to end, until none is left or the time is up."""
        try:
            async with (
                asyncio.timeout(DRAIN_SECONDS),
                proxy_admin.session(run, aiohttp.ClientTimeout(total=DRAIN_SECONDS)) as admin,
            ):
                async with admin.post(f"{proxy_admin.URL}/drain_listeners?graceful&skip_exit") as answer:
                    answer.raise_for_status()
                while await _connections(admin):  # noqa: ASYNC110 - another process sets no event of ours
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return
        except (OSError, ValueError, aiohttp.ClientError) as error:
            log.warning("%s: the proxy cannot be drained: %s", run, error)


async def _connections(admin: aiohttp.ClientSession) -> int:
    """Open connections of all listeners. Raises `ValueError` if the answer is none."""
    query = {"filter": f"^{CONNECTIONS}$", "format": "json"}
    async with admin.get(f"{proxy_admin.URL}/stats", params=query) as answer:
        said = await proxy_admin.body(answer, LONGEST_ANSWER)
    try:
        found = msgspec.json.decode(said, type=_Stats)
    except RecursionError as error:
        raise ValueError("expected statistics in JSON, found it nested too deeply") from error
    return sum(int(each.value) for each in found.stats if each.name == CONNECTIONS)


class _Stat(msgspec.Struct):
    name: str = ""
    value: float = 0


class _Stats(msgspec.Struct):
    stats: list[_Stat]
