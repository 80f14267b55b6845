"""An instance on this machine: where its state lies, and whether its processes run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hauberk.process import start_time

_NAME = "abcdefghijklmnopqrstuvwxyz0123456789-"


@dataclass(frozen=True, slots=True)
class Instance:
    """The paths of one instance (docs/architecture.md, "On disk")."""

    name: str
    state: Path
    run: Path
    key_file: Path

    @staticmethod
    def named(
        name: str, *, state: Path | None = None, run: Path | None = None, key_file: Path | None = None
    ) -> "Instance":
        """The instance `name` in its usual places, or in the given ones.

        Raises:
            ValueError: the name is not 1 to 32 of a-z, 0-9 and '-'.
        """
        if not 1 <= len(name) <= 32 or any(character not in _NAME for character in name):
            raise ValueError(f"instance name: expected 1 to 32 of a-z, 0-9 and '-', found {name!r}")
        return Instance(
            name=name,
            state=state or Path("/var/lib/hauberk") / name,
            run=run or Path("/run/hauberk") / name,
            key_file=key_file or Path("/etc/hauberk") / f"{name}.key",
        )

    @property
    def admin_kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    def daemon(self) -> dict[str, Any] | None:
        """What `hauberkd` wrote of itself, if it runs."""
        return _running(self.run / "hauberkd.json")

    def node(self) -> dict[str, Any] | None:
        """What `hauberk-node` wrote of itself, if it runs."""
        return _running(self.run / "node.json")


def _running(path: Path) -> dict[str, Any] | None:
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        lives = start_time(int(said["pid"])) == said["started"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path}: expected JSON with a pid and when it started, found something else ({error}); remove it"
        ) from error
    return said if lives else None
