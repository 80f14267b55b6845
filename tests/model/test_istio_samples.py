"""Istio's samples are accepted unchanged, and analysed without errors beside what they build on."""

from pathlib import Path

import pytest

from hauberk.model.analysis.report import analyze_files
from hauberk.model.analysis.world import Context
from hauberk.model.manifest import parse_manifest

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "istio-samples"
FILES = sorted(SAMPLES.rglob("*.yaml"))
BASES = {
    "bookinfo": ("bookinfo.yaml", "destination-rule-all.yaml", "bookinfo-gateway.yaml"),
    "httpbin": ("httpbin.yaml",),
    "tcp-echo": ("tcp-echo-services.yaml", "tcp-echo-all-v1.yaml"),
}
WARNINGS = {"HBK0008", "HBK0105", "HBK0108", "HBK0201"}
"""True of the samples: subsets whose pods are in other files, no gateway pods, a rule that repeats another."""

pytestmark = pytest.mark.skipif(not FILES, reason=f"there are no samples at {SAMPLES}")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_accepted_unchanged(file: Path) -> None:
    assert parse_manifest(file.read_text(), file.name)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_analysed_without_errors(file: Path) -> None:
    names = dict.fromkeys([*BASES[file.parent.name], file.name])
    texts = {name: (file.parent / name).read_text() for name in names}
    report = analyze_files(texts, context=Context(images=None))
    assert report.errors == 0, report.render_text()
    assert {finding.code for finding in report.findings} <= WARNINGS, report.render_text()


def test_images_that_cannot_be_had_are_told() -> None:
    file = SAMPLES / "httpbin" / "httpbin.yaml"
    report = analyze_files({file.name: file.read_text()})
    assert [finding.code for finding in report.findings] == ["HBK0503"]
    assert report.exit_code() == 2
