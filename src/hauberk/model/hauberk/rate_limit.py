"""`RateLimit`: how many requests workloads take."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from hauberk.model.istio.selection import PolicyTargetReference, WorkloadSelector
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import Duration, MeshStruct, Port, doc

Strings = tuple[str, ...]


class RequestMatch(MeshStruct, frozen=True):
    """Which requests; every field that is set must match, each by one of its values, as in an AuthorizationPolicy."""

    methods: Annotated[Strings, doc("HTTP methods; POST for gRPC.")] = ()
    paths: Annotated[Strings, doc("Paths without the query; `*` at one end.")] = ()
    hosts: Annotated[Strings, doc("Host names of the request; `*` at one end.")] = ()


class Distinction(MeshStruct, frozen=True):
    """What is counted apart. Exactly one field is set. Requests that have no such thing are counted together."""

    header: Annotated[str | None, doc("Each value of this request header.")] = None
    attribute: Annotated[
        Literal["caller", "address"] | None,
        doc("`caller`: each identity that mutual TLS proved; `address`: each address of the connection."),
    ] = None


class LocalLimit(MeshStruct, frozen=True):
    """A token bucket of each proxy, shared by its workers: it holds `burst` and gains `requests` in every `per`."""

    requests: Annotated[int, Meta(ge=1, le=1_000_000_000), doc("Requests in each period.")]
    per: Annotated[Duration | None, doc("The period, from 50ms; 1s if left out.")] = None
    burst: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None, doc("As many as `requests` if left out.")
    ] = None


class GlobalLimit(MeshStruct, frozen=True):
    """A limit that the rate limit service knows under a descriptor: `rule` with the rule's name, then one for each
    distinction (the header's name, `caller` or `remote_address`)."""

    domain: Annotated[str, Meta(min_length=1, max_length=253), doc("The service's domain.")]


class RateLimitRule(MeshStruct, frozen=True):
    """A limit on some requests, in each proxy or over all that ask the service."""

    name: Annotated[str, Meta(min_length=1, max_length=63)]
    match: Annotated[RequestMatch | None, doc("All requests if left out.")] = None
    by: Annotated[
        Annotated[tuple[Distinction, ...], Meta(max_length=3)], doc("One limit for all if left out.")
    ] = ()
    local: Annotated[LocalLimit | None, doc("Either this or `global`.")] = None
    global_: Annotated[GlobalLimit | None, doc("Either this or `local`.")] = field(
        name="global", default=None
    )


class RateLimitService(MeshStruct, frozen=True):
    """A service that speaks Envoy's rate limit API (`envoy.service.ratelimit.v3`)."""

    service: Annotated[str, Meta(min_length=1), doc("Full name of the service: `NAME.NAMESPACE.svc.…`.")]
    port: Annotated[Port, doc("A port named or typed as gRPC or HTTP/2.")]
    timeout: Annotated[Duration | None, doc("For its answer; 20ms if left out.")] = None
    failure_mode: Annotated[
        Literal["Allow", "Deny"] | None,
        doc("What becomes of requests while it does not answer; Allow if left out."),
    ] = None


class RateLimitSpec(MeshStruct, frozen=True):
    """How many requests workloads take, after who may call them was decided."""

    rules: Annotated[
        Annotated[tuple[RateLimitRule, ...], Meta(min_length=1, max_length=64)],
        doc("All that match a request hold for it."),
    ]
    selector: Annotated[
        WorkloadSelector | None, doc("Pods that it applies to; all of the namespace if left out.")
    ] = None
    target_refs: Annotated[
        tuple[PolicyTargetReference, ...], doc("Gateways of the Gateway API that it applies to.")
    ] = ()
    service: Annotated[RateLimitService | None, doc("Who knows the global limits.")] = None


class RateLimit(MeshStruct, frozen=True):
    """How many requests workloads take; more are answered 429 (gRPC: RESOURCE_EXHAUSTED)."""

    spec: Annotated[RateLimitSpec, doc("The limits.")]
    metadata: ObjectMeta = ObjectMeta()
    status: dict[str, Any] | None = None
