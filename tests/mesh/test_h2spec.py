"""h2spec breaks HTTP/2 in 146 ways (its strict ones included); here it does so to the proxy's process."""

import asyncio
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from mesh_testing.backends import front, to, virtual_service
from mesh_testing.hauberk_proxy import hauberk_proxy

MODULE = Path(__file__).with_name("h2spec_module")
PROGRAM = Path(__file__).parents[2] / "build" / "h2spec" / "h2spec"
CASES = 146
KNOWN_FAILURES = {
    ("3.5. HTTP/2 Connection Preface", "Sends invalid connection preface"): (
        "what does not begin as HTTP/2 is HTTP/1.1: it is answered 400 in that, then the connection is closed"
    ),
}
"""Each with its reason; docs/http2.md says the same."""


@pytest.fixture(scope="module")
def h2spec() -> Path:
    """Built from its Go module at the version of `h2spec_module/go.mod`."""
    if shutil.which("go") is None:
        pytest.skip("h2spec is built from its Go module, and there is no go here (1.26 or later)")
    download = subprocess.run(["go", "mod", "download"], cwd=MODULE, capture_output=True, text=True)
    if download.returncode != 0:
        pytest.skip(f"the modules of h2spec cannot be had here: {download.stderr.strip()[-200:]}")
    build = ["go", "build", "-o", str(PROGRAM), "github.com/summerwind/h2spec/cmd/h2spec"]
    subprocess.run(build, cwd=MODULE, check=True)
    return PROGRAM


async def test_h2spec_finds_no_more_than_is_known(h2spec: Path, tmp_path: Path) -> None:
    report = tmp_path / "h2spec.xml"
    objects = [virtual_service({"route": [to("v1")]}, hosts=["*"])]
    async with front(hauberk_proxy, objects, tmp_path) as gateway:
        command = [
            str(h2spec),
            "--strict",
            "--port",
            str(gateway.port),
            "--timeout",
            "5",
            "--junit-report",
            str(report),
        ]
        with (tmp_path / "h2spec.txt").open("w") as output:
            process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
            await asyncio.wait_for(process.wait(), 120)
    failures, cases = set(), 0
    for suite in Xml.parse(report).getroot().iter("testsuite"):
        for case in suite.iter("testcase"):
            cases += 1
            if case.find("failure") is not None or case.find("error") is not None:
                failures.add((suite.attrib["name"], case.attrib["classname"]))
    assert cases == CASES
    assert failures == set(KNOWN_FAILURES), (tmp_path / "h2spec.txt").read_text()
