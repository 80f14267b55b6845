"""What the machine is short of, as far as the node's own work depends on it."""

import os
from dataclasses import dataclass
from pathlib import Path

LEAST_SHARE = 0.05
LEAST_BYTES = 100 * 1024 * 1024
"""A disk is short when less than this is free, or than its `LEAST_SHARE` if that is less still."""

LEAST_INODES = 0.005
"""As a share of all; file systems that make inodes as they go have none, and are never short."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """Each a sentence for people; empty where there is enough."""

    disk: str = ""


def of(folder: Path) -> Pressure:
    """Looks at the file system that `folder` is on (statvfs(3))."""
    found = os.statvfs(folder)
    least = int(min(LEAST_BYTES, found.f_blocks * found.f_frsize * LEAST_SHARE))
    if found.f_bavail * found.f_frsize < least:
        return Pressure(f"{folder} has less than {least // 1024} KiB left; free some space")
    if found.f_favail < (inodes := int(found.f_files * LEAST_INODES)):
        return Pressure(f"{folder} has less than {inodes} inodes left; remove some files")
    return Pressure()
