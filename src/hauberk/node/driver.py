"""What runs a container: this protocol, implemented by sandboxes on the host's root file system.

Whatever implements it keeps the container, its log and its exit code while the agent is away.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from hauberk.node.terminal import Terminal


class DriverError(Exception):
    """A container could not be made; the message says what was refused and the remedy."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory, file or socket of the host at a place in the container."""

    source: Path
    target: str
    readonly: bool = False
    sub_path: str = ""
    """Below `source`; links that a program put there are followed within `source` only, by the driver."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One start of one container. Ids of users are those inside the container."""

    id: str
    folder: Path
    """The driver's own: specification and state of this start."""
    control: Path
    """A socket path short enough for the kernel (unix(7): 108 bytes)."""
    network: Path
    uid_base: int
    hostname: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    directory: str = "/"
    user: int = 0
    group: int = 0
    groups: Sequence[int] = ()
    capabilities: Sequence[str] = ()
    mounts: Sequence[Mount] = ()
    hidden: Sequence[Path] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    control_groups: Sequence[Path] = ()


class ContainerState(msgspec.Struct, frozen=True, kw_only=True):
    """As the driver last wrote it."""

    phase: Literal["running", "exited"]
    pid: int = 0
    started_at: str = ""
    exit_code: int = 0
    signal: int = 0
    finished_at: str = ""
    reason: str = ""
    message: str = ""


class Driver(Protocol):
    """Starts containers and finds them again."""

    async def start(self, spec: ContainerSpec) -> None:
        """Returns when the program runs, or has ended already. Raises `DriverError`."""

    async def wait(self, folder: Path) -> ContainerState:
        """The end of the container that was started in `folder`, by this agent or one before it."""

    def state(self, folder: Path) -> ContainerState | None:
        """What is known now; None if it never ran."""

    async def signal(self, folder: Path, number: int) -> None:
        """Sends a signal to the program; no error if it has ended."""

    async def execute(self, folder: Path, arguments: Sequence[str]) -> asyncio.subprocess.Process:
        """A further program in a running container, on pipes. It ends with the process. Raises `DriverError`."""

    async def execute_on_terminal(
        self, folder: Path, arguments: Sequence[str]
    ) -> tuple[asyncio.subprocess.Process, Terminal]:
        """The same on a terminal of the container's own, which the caller closes. Raises `DriverError`."""
