"""Istio's `telemetry.istio.io`: what is logged and traced, and where it goes."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from hauberk.model.istio.selection import PolicyTargetReference, WorkloadSelector
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import MeshStruct, doc

Mode = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]


class ProviderReference(MeshStruct, frozen=True):
    """A provider of the MeshConfig, by name."""

    name: Annotated[str, Meta(min_length=1)]


class ModeSelector(MeshStruct, frozen=True):
    """Calls that a workload makes, calls that it takes, or both."""

    mode: Annotated[Mode | None, doc("CLIENT_AND_SERVER if left out.")] = None


class LogFilter(MeshStruct, frozen=True):
    """Which calls are logged."""

    expression: Annotated[str | None, doc("CEL; not evaluated here, and so refused.")] = None


class AccessLogging(MeshStruct, frozen=True):
    """Whether calls are logged, and where."""

    match: ModeSelector | None = None
    providers: Annotated[
        tuple[ProviderReference, ...], doc("Those of the wider level if left out; else in place of them.")
    ] = ()
    disabled: Annotated[bool | None, doc("Take these providers away.")] = None
    filter: LogFilter | None = None


class LiteralTag(MeshStruct, frozen=True):
    """Always the same text."""

    value: Annotated[str, Meta(min_length=1)]


class EnvironmentTag(MeshStruct, frozen=True):
    """A variable of the proxy's environment; refused, since it would say nothing of the workload."""

    name: str
    default_value: str | None = None


class HeaderTag(MeshStruct, frozen=True):
    """A header of the request."""

    name: Annotated[str, Meta(min_length=1)]
    default_value: str | None = None


class CustomTag(MeshStruct, frozen=True):
    """A further attribute of a span. Exactly one is set."""

    literal: LiteralTag | None = None
    environment: EnvironmentTag | None = None
    header: HeaderTag | None = None


class Tracing(MeshStruct, frozen=True):
    """Which requests are traced, and where spans go."""

    match: ModeSelector | None = None
    providers: Annotated[tuple[ProviderReference, ...], doc("Only the first is used.")] = ()
    random_sampling_percentage: Annotated[
        Annotated[float, Meta(ge=0, le=100)] | None,
        doc("Of the requests whose trace begins here; 1 if nobody says."),
    ] = None
    disable_span_reporting: Annotated[bool | None, doc("Contexts are passed on, spans are not sent.")] = None
    custom_tags: Annotated[dict[str, CustomTag], doc("Further attributes, by name.")] = field(
        default_factory=dict
    )
    use_request_id_for_trace_sampling: bool | None = None


class TelemetrySpec(MeshStruct, frozen=True):
    """What is logged and traced of the calls of which workloads."""

    selector: Annotated[
        WorkloadSelector | None, doc("Pods that it applies to; all of the namespace if left out.")
    ] = None
    target_ref: PolicyTargetReference | None = None
    target_refs: tuple[PolicyTargetReference, ...] = ()
    access_logging: Annotated[tuple[AccessLogging, ...], doc("The access log.")] = ()
    tracing: Annotated[tuple[Tracing, ...], doc("Traces.")] = ()
    metrics: Annotated[tuple[dict[str, Any], ...], doc("Accepted, and without effect.")] = ()


class Telemetry(MeshStruct, frozen=True):
    """What is logged and traced. In the root namespace without a selector it holds for the whole mesh."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[TelemetrySpec, doc("Which workloads, and what becomes of their calls.")] = TelemetrySpec()
    status: dict[str, Any] | None = None
