"""The official suite of the Gateway API as a program: how it is run, and what it says of each of its tests."""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_RESULT = re.compile(r"^    --- (PASS|FAIL|SKIP): TestConformance/(\S+) ")
_REASON = re.compile(r"^\s+\S+\.go:\d+: Skipping \S+: (?P<skipped>.*)$")
_ERROR = re.compile(r"^\s*Messages:\s+(?P<error>\S.*)$")


@dataclass(frozen=True, slots=True)
class Results:
    """The suite's tests by what became of them; a test that failed or was skipped with the suite's own words."""

    passed: frozenset[str]
    failed: Mapping[str, str]
    skipped: Mapping[str, str]


def run_suite(
    binary: Path,
    kubeconfig: Path,
    programs: Mapping[str, Sequence[str]],
    options: Mapping[str, object],
    folder: Path,
    seconds: float,
) -> Results:
    """Runs the suite; what it prints stays in `folder/suite.log`."""
    file, log = folder / "options.yaml", folder / "suite.log"
    file.write_text(json.dumps(options))  # which is YAML, too
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "HAUBERK_PROGRAMS": json.dumps(programs),
    }
    with log.open("w") as output:
        subprocess.run(
            [binary, "-test.v", f"-test.timeout={int(seconds)}s", f"-conformance-options-file={file}"],
            stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder, check=False, timeout=seconds + 60,
        )  # fmt: skip
    return parse(log.read_text())


def parse(text: str) -> Results:
    """What `go test -v` prints."""
    outcomes: dict[str, str] = {}
    reasons: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if found := _RESULT.match(line):
            outcome, name = found.groups()
            outcomes[name] = outcome
        elif line.startswith("=== "):
            name = line.split("TestConformance/")[-1].split("/")[0] if "TestConformance/" in line else ""
        elif name and (told := _REASON.match(line)):
            reasons.setdefault(name, told["skipped"])
        elif name and (told := _ERROR.match(line)):
            reasons.setdefault(name, told["error"])
    by = {
        kind: {each: reasons.get(each, "") for each, outcome in outcomes.items() if outcome == kind}
        for kind in ("PASS", "FAIL", "SKIP")
    }
    return Results(frozenset(by["PASS"]), by["FAIL"], by["SKIP"])
