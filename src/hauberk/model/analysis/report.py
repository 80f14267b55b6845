"""The analysis of files or of a namespace, as text, as JSON and as an exit code."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hauberk.model.analysis import (
    gateway_api,
    gateways,
    routes,
    security,
    services,
    telemetry,
    workloads,
)
from hauberk.model.analysis.finding import Finding
from hauberk.model.analysis.world import Context, build
from hauberk.model.kinds import by_gvk
from hauberk.model.manifest import Located, Lookup, read_manifest

_FAMILIES = (
    routes.analyze_routes,
    gateways.analyze_gateways,
    security.analyze_security,
    services.analyze_services,
    workloads.analyze_workloads,
    gateway_api.analyze_gateway_api,
    telemetry.analyze_telemetry,
)

CLEAN, WARNINGS, ERRORS = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, errors and warnings in the order of their places."""

    findings: tuple[Finding, ...]
    objects: int
    """How many objects were looked at."""

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors

    def exit_code(self, *, strict: bool = False) -> int:
        """0 if there is nothing to say, 1 for warnings with `strict`, 2 for errors."""
        if self.errors:
            return ERRORS
        return WARNINGS if strict and self.warnings else CLEAN

    def render_text(self) -> str:
        """A finding a paragraph, and a last line that sums up."""
        lines = [finding.render() for finding in self.findings]
        lines.append(f"{self.objects} objects: {self.errors} errors, {self.warnings} warnings")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """For `-o json`."""
        return {
            "objects": self.objects,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": [
                {
                    "code": finding.code,
                    "severity": finding.severity,
                    "title": finding.entry.title,
                    "message": finding.message,
                    "remedy": finding.entry.remedy,
                    "object": finding.subject,
                    "field": finding.field,
                    "file": finding.place.file,
                    "line": finding.place.line,
                    "column": finding.place.column,
                }
                for finding in self.findings
            ],
        }


def analyze(objects: Iterable[Located], *, context: Context | None = None) -> list[Finding]:
    """What is wrong between `objects`, which are right by themselves, in the order of their places."""
    world = build(objects, context or Context())
    found = [finding for family in _FAMILIES for finding in family(world)]
    return sorted(
        set(found), key=lambda finding: (finding.place, finding.subject, finding.code, finding.field)
    )


def analyze_objects(objects: Iterable[Located], *, context: Context | None = None) -> Report:
    """The report on objects that come from the API: `Located(kind, object)`."""
    listed = list(objects)
    return Report(tuple(analyze(listed, context=context)), len(listed))


def analyze_files(
    texts: Mapping[str, str],
    *,
    context: Context | None = None,
    lookup: Lookup = by_gvk,
    beside: Iterable[Located] = (),
) -> Report:
    """The report on manifests, by file name. Objects `beside` them (of the cluster) are known, but not judged."""
    located: list[Located] = []
    refused: list[Finding] = []
    for file, text in texts.items():
        objects, findings = read_manifest(text, file, lookup)
        located += objects
        refused += findings
    kept, repeated = _last_of_each(located)
    found = analyze([*kept, *beside], context=context)
    judged = [finding for finding in found if finding.place.file]
    return Report((*refused, *repeated, *judged), len(located))


def _last_of_each(located: list[Located]) -> tuple[list[Located], list[Finding]]:
    """Of objects with the same kind and name the last one, as applying them in turn would leave it."""
    kept: dict[tuple[str, str, str, str], Located] = {}
    repeated: list[Finding] = []
    for index, item in enumerate(located):
        # Objects that only have generateName are all different.
        identity = (item.kind.group, item.kind.name, item.namespace, item.name or f"#{index}")
        first = kept.get(identity)
        if first is not None:
            subject = f"{item.kind.name} {item.namespace}/{item.name}"
            message = f"is already at {first.place('metadata.name')}"
            repeated.append(
                Finding("HBK0008", item.place("metadata.name"), message, subject, "metadata.name")
            )
        kept[identity] = item
    return list(kept.values()), repeated
