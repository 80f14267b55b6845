"""Rules on Istio's `telemetry.istio.io` kinds."""

from hauberk.model.admission.syntax import Errors, forbidden, labels, not_supported, required
from hauberk.model.istio.telemetry import CustomTag, Telemetry


def admit_telemetry(new: Telemetry, _old: Telemetry | None) -> Errors:
    """What is not honoured is refused by name, so that nobody takes a filter for one that works."""
    spec = new.spec
    if spec.selector is not None:
        yield from labels(spec.selector.match_labels, "spec.selector.matchLabels")
    if spec.target_ref is not None or spec.target_refs:
        yield forbidden("spec.targetRefs", "is not honoured: choose the gateway's pods by selector")
    for index, logging in enumerate(spec.access_logging):
        if logging.filter is not None:
            yield not_supported(
                f"spec.accessLogging[{index}].filter",
                "CEL expressions are not evaluated here: leave the filter out, and filter where the log is read",
            )
    for index, tracing in enumerate(spec.tracing):
        for name, tag in tracing.custom_tags.items():
            yield from _admit_tag(tag, f"spec.tracing[{index}].customTags[{name}]")


def _admit_tag(tag: CustomTag, path: str) -> Errors:
    found = [value for value in (tag.literal, tag.environment, tag.header) if value is not None]
    if len(found) != 1:
        yield required(path, f"expected one of literal, header, found {len(found)} of them")
    elif tag.environment is not None:
        yield not_supported(f"{path}.environment", "is not honoured: use literal or header")
