"""Limits of a container's processor time, memory and number of processes, by control groups of either version."""

import logging
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "cpu", "pids")
PERIOD_MICROSECONDS = 100_000
_QUANTITY = re.compile(r"([0-9.]+)(m|[kKMGTPE]i?)?")
_SUFFIXES = {"m": Decimal("0.001"), "": Decimal(1)} | {
    letter + ending: Decimal((1024 if ending else 1000) ** power)
    for power, letters in enumerate(("kK", "M", "G", "T", "P", "E"), start=1)
    for letter in letters
    for ending in ("", "i")
}


def quantity(text: str) -> Decimal:
    """A resource quantity (`500m`, `1.5Gi`). Raises `ValueError`."""
    matched = _QUANTITY.fullmatch(str(text))
    if matched is None:
        raise ValueError(f"quantity: expected a number as 500m, 2 or 1.5Gi, found {text!r}")
    return Decimal(matched[1]) * _SUFFIXES[matched[2] or ""]


def settings(container: Mapping[str, Any], version: int) -> dict[str, dict[str, str]]:
    """What to write in each controller's files for a container's `resources.limits`."""
    limits = (container.get("resources") or {}).get("limits") or {}
    wanted: dict[str, dict[str, str]] = {}
    if memory := limits.get("memory"):
        file = "memory.max" if version == 2 else "memory.limit_in_bytes"
        wanted["memory"] = {file: str(int(quantity(memory)))}
    if processor := limits.get("cpu"):
        quota = max(1000, int(quantity(processor) * PERIOD_MICROSECONDS))
        if version == 2:
            wanted["cpu"] = {"cpu.max": f"{quota} {PERIOD_MICROSECONDS}"}
        else:
            wanted["cpu"] = {"cpu.cfs_period_us": str(PERIOD_MICROSECONDS), "cpu.cfs_quota_us": str(quota)}
    return wanted


class ControlGroups:
    """The groups of one instance, under `hauberk/INSTANCE` of each controller that the machine has."""

    def __init__(self, instance: str, root: Path = ROOT) -> None:
        self._root = root
        self._instance = instance
        self._version = 2 if (root / "cgroup.controllers").exists() else 1

    def make(self, uid: str, container: Mapping[str, Any]) -> list[Path]:
        """Groups with the container's limits, which it is to join; none where the machine cannot limit."""
        made = []
        for controller, files in settings(container, self._version).items():
            parent = self._parent(controller)
            if parent is None:
                log.warning("limit of %s: this machine has no such control group; not limited", controller)
                continue
            group = parent / uid / container["name"]
            try:
                group.mkdir(parents=True, exist_ok=True)
                self._delegate(group, controller)
                for file, value in files.items():
                    (group / file).write_text(value)
            except OSError as error:
                log.warning("limit of %s: %s; not limited", controller, error)
                continue
            if group not in made:
                made.append(group)
        return made

    def remove(self, uid: str = "") -> None:
        """Removes a pod's groups, or all of the instance; one that has a process yet stays."""
        for controller in CONTROLLERS:
            parent = self._parent(controller)
            if parent is not None:
                _remove(parent / uid if uid else parent)

    def _delegate(self, group: Path, controller: str) -> None:
        """In version 2 each group above must pass the controller on."""
        if self._version == 2:
            for above in reversed(group.relative_to(self._root).parents):
                (self._root / above / "cgroup.subtree_control").write_text(f"+{controller}")

    def _parent(self, controller: str) -> Path | None:
        if self._version == 2:
            available = (self._root / "cgroup.controllers").read_text().split()
            if controller not in available:
                return None
            return self._root / "hauberk" / self._instance
        mounted = self._root / controller
        return mounted / "hauberk" / self._instance if mounted.is_dir() else None


def _remove(folder: Path) -> None:
    if not folder.is_dir():
        return
    for child in folder.iterdir():
        if child.is_dir():
            _remove(child)
    try:
        folder.rmdir()
    except OSError as error:
        log.info("%s: %s", folder, error)
