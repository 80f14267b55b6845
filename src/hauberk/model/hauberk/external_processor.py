"""`ExternalProcessor`: a service that sees requests and responses, and may change or answer them."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from hauberk.model.istio.selection import PolicyTargetReference, WorkloadSelector
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import Duration, MeshStruct, Port, doc


class ProcessorService(MeshStruct, frozen=True):
    """A service that speaks Envoy's external processing API (`envoy.service.ext_proc.v3`)."""

    service: Annotated[str, Meta(min_length=1), doc("Full name of the service: `NAME.NAMESPACE.svc.…`.")]
    port: Annotated[Port, doc("A port named or typed as gRPC or HTTP/2.")]
    timeout: Annotated[Duration | None, doc("For each of its answers; 200ms if left out.")] = None
    failure_mode: Annotated[
        Literal["Allow", "Deny"] | None,
        doc("Without an answer: Deny (status 500, if left out), or Allow, to go on without it."),
    ] = None


class ProcessedMessage(MeshStruct, frozen=True):
    """How much of a request, or of a response, the service sees."""

    headers: Annotated[Literal["Send", "Skip"] | None, doc("Send if left out.")] = None
    body: Annotated[
        Literal["None", "Buffered"] | None,
        doc(
            "Buffered: whole, up to 1 MiB, before it goes on (a longer request is answered 413). None if left out."
        ),
    ] = None


class ExternalProcessorSpec(MeshStruct, frozen=True):
    """Which workloads' calls which service sees, after who may call them was decided."""

    service: ProcessorService
    selector: Annotated[
        WorkloadSelector | None, doc("Pods that it applies to; all of the namespace if left out.")
    ] = None
    target_refs: Annotated[
        tuple[PolicyTargetReference, ...], doc("Gateways of the Gateway API that it applies to.")
    ] = ()
    request: ProcessedMessage | None = None
    response: ProcessedMessage | None = None


class ExternalProcessor(MeshStruct, frozen=True):
    """A service that sees requests and responses of workloads, and may change or answer them."""

    spec: Annotated[ExternalProcessorSpec, doc("Who processes what.")]
    metadata: ObjectMeta = ObjectMeta()
    status: dict[str, Any] | None = None
