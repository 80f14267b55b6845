"""What a pod's proxy is: this protocol, implemented by our own and by an Envoy in its place."""

import json
import os
from pathlib import Path
from typing import Any, Literal, Protocol

ProxyName = Literal["hauberk", "envoy"]
DRAIN_SECONDS = 5

Bootstrap = dict[str, Any]
"""What a proxy starts from (docs/architecture.md, "Proxy: command line and bootstrap")."""


class ProxyDriver(Protocol):
    """How one kind of proxy is started and asked to leave. `run` is the pod's folder, which is the proxy's own."""

    @property
    def name(self) -> ProxyName: ...

    @property
    def keeps_records(self) -> bool:
        """Whether it writes `records.log` and counts under Istio's metric names."""

    def prepare(self, run: Path, bootstrap: Bootstrap) -> None:
        """Writes what the proxy reads when it starts; a proxy may start at any time."""

    def command(self, run: Path) -> list[str]:
        """Program and arguments."""

    def output(self, run: Path) -> Path:
        """The file that its standard output goes to; what it writes to standard error goes to `proxy.log`."""

    async def drain(self, run: Path) -> None:
        """Returns when the proxy may be sent SIGTERM, after at most `DRAIN_SECONDS`."""


class HauberkProxy:
    """Our own."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary

    @property
    def name(self) -> ProxyName:
        return "hauberk"

    @property
    def keeps_records(self) -> bool:
        return True

    def prepare(self, run: Path, bootstrap: Bootstrap) -> None:
        write_whole(run / "bootstrap.json", bootstrap)

    def command(self, run: Path) -> list[str]:
        return [str(self._binary), "--bootstrap", str(run / "bootstrap.json")]

    def output(self, run: Path) -> Path:
        return run / "proxy.log"

    async def drain(self, run: Path) -> None:
        """It drains by itself when it is sent SIGTERM."""


def write_whole(file: Path, content: Bootstrap) -> None:
    """Whole or not at all: a proxy may start at any time. The folder is the proxy's: nothing there is followed."""
    temporary = file.with_name(f"{file.name}~")
    temporary.unlink(missing_ok=True)
    with temporary.open("x") as opened:
        opened.write(json.dumps(content, indent=1))
        os.fchmod(opened.fileno(), 0o644)
    temporary.rename(file)
