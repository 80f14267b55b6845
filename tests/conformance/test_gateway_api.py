"""Gateway API's own conformance suite against our API server, control plane and proxies, held against a baseline.

The suite is as its module has it; only the images of its manifests stand for programs of the machine. What fails or is
not run is in the baseline with its reason, and in docs/conformance.md. A test that passes although the baseline says
that it does not is a reason to correct the baseline, and fails here as well.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance_testing.built import built
from conformance_testing.suite import Results, run_suite

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from instance_testing.instance import TestInstance, instance
from instance_testing.samples import write

pytestmark = [pytest.mark.root, pytest.mark.timeout(5400)]

BASELINE = Path(__file__).with_name("gateway_api_baseline.json")
SECONDS = 5000
WAITS = {
    # For what fails: how long the suite waits for it. What works takes seconds.
    "gatewayMustHaveAddress": "90s",
    "gatewayMustHaveCondition": "40s",
    "gatewayStatusMustHaveListeners": "30s",
    "gatewayListenersMustHaveConditions": "30s",
    "httpRouteMustHaveCondition": "30s",
    "tlsRouteMustHaveCondition": "30s",
    "tcpRouteMustHaveCondition": "30s",
    "routeMustHaveParents": "30s",
    "maxTimeToConsistency": "30s",
    "namespacesMustBeReady": "300s",
}


@pytest.fixture
def visible() -> Iterator[Path]:
    """A folder that pods see: theirs is the machine's file system but for folders such as /tmp and /home."""
    with tempfile.TemporaryDirectory(prefix="hauberk-", dir="/opt") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def mesh() -> Iterator[TestInstance]:
    with instance() as found:
        manifests = found.folder / "manifests"
        manifests.mkdir()
        write(
            [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "conformance"}}],
            manifests / "n.json",
        )
        found.said("up", "-d", str(manifests), timeout=180)
        yield found


def test_the_suite_says_what_the_baseline_says(mesh: TestInstance, visible: Path, tmp_path: Path) -> None:
    suite = built("gateway-api.test")
    echo = Path(shutil.copy(built("echo-basic"), visible / "echo-basic"))
    baseline = json.loads(BASELINE.read_text())
    results = run_suite(
        suite,
        mesh.state / "admin.kubeconfig",
        # The name server is for the tests of UDPRoute, which are not run; all others wait for its pod.
        {"echo-basic": [str(echo)], "coredns": ["/bin/sh", "-c", "exec sleep infinity"]},
        {
            "gatewayClassName": "hauberk",
            "allowCrdsMismatch": True,
            "disableParallelTests": True,
            "supportedFeatures": baseline["features"],
            "runTest": os.environ.get("CONFORMANCE_TEST", ""),
            "timeoutConfig": WAITS,
        },
        tmp_path,
        SECONDS,
    )
    _report(results, tmp_path)
    assert results.passed or results.failed, f"the suite did not begin: {tmp_path / 'suite.log'}"
    unexpected = {name: why for name, why in results.failed.items() if name not in baseline["failed"]}
    assert unexpected == {}, f"failed, and not in the baseline; {tmp_path / 'suite.log'}"
    mended = sorted(results.passed & baseline["failed"].keys())
    assert mended == [], f"passed, and in {BASELINE} as failed: take them out"
    if "CONFORMANCE_TEST" not in os.environ:
        assert sorted(results.passed) == baseline["passed"]
        assert sorted(results.skipped) == sorted(baseline["skipped"])


def _report(results: Results, folder: Path) -> None:
    found = {
        "passed": sorted(results.passed),
        "failed": dict(sorted(results.failed.items())),
        "skipped": dict(sorted(results.skipped.items())),
    }
    (folder / "results.json").write_text(json.dumps(found, indent=1))
