"""The machine that the figures come from, and how busy it was."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    processor: str
    cores: int
    memory_gb: float
    kernel: str
    load_before: float
    """Processes that ran or waited to run, mean of the last minute, before the first measurement."""

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gb:.0f} GB, Linux {self.kernel}, "
            f"load before the run {self.load_before:.2f}"
        )


def this_machine() -> Machine:
    return Machine(
        processor=processor(Path("/proc/cpuinfo").read_text()),
        cores=os.cpu_count() or 1,
        memory_gb=memory_bytes(Path("/proc/meminfo").read_text()) / 1e9,
        kernel=platform.release(),
        load_before=os.getloadavg()[0],
    )


def processor(cpuinfo: str) -> str:
    """The first processor's name of /proc/cpuinfo; the architecture where it says none (as on ARM)."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def memory_bytes(meminfo: str) -> int:
    """`MemTotal` of /proc/meminfo. Raises ValueError if it is not there."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise ValueError("expected a line MemTotal in /proc/meminfo, found none")
