"""What an instance has on the machine: whatever of it is there names the instance or lies in its folder."""

from pathlib import Path

from instance_testing.instance import TestInstance, output


def traces(instance: TestInstance) -> dict[str, list[str]]:
    """What there is of an instance in the kernel and among processes, by kind."""
    marks = (instance.name, str(instance.folder))

    def of(lines: list[str]) -> list[str]:
        return sorted(line for line in lines if any(mark in line for mark in marks))

    return {
        "network namespaces": of(output(["ip", "netns", "list"]).splitlines()),
        "links": of(output(["ip", "-o", "link"]).splitlines()),
        "routes": of(output(["ip", "route", "show", "table", "all"]).splitlines()),
        "rules": of(output(["nft", "list", "ruleset"]).splitlines()),
        "mounts": of(Path("/proc/self/mountinfo").read_text().splitlines()),
        "control groups": of([str(path) for path in Path("/sys/fs/cgroup").glob("**/") if path.is_dir()]),
        "processes": of(_command_lines()),
    }


def _command_lines() -> list[str]:
    lines = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
    return lines
