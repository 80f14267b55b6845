"""Rules on ExternalProcessor."""

from hauberk.model.admission.syntax import Errors, duration, forbidden, labels, required
from hauberk.model.hauberk.external_processor import ExternalProcessor, ProcessedMessage


def admit_external_processor(new: ExternalProcessor, _old: ExternalProcessor | None) -> Errors:
    """Something is shown to the service, and its answers have a time."""
    spec = new.spec
    if spec.selector is not None:
        yield from labels(spec.selector.match_labels, "spec.selector.matchLabels")
        if spec.target_refs:
            yield forbidden("spec.selector", "expected selector or targetRefs, found both: remove one")
    yield from duration(spec.service.timeout, "spec.service.timeout", least=0.001)
    if not any(_sees(one) for one in (spec.request, spec.response)):
        yield required("spec.request", "the service would see nothing: send headers or a body")


def _sees(told: ProcessedMessage | None) -> bool:
    return told is None or told.headers != "Skip" or told.body == "Buffered"
