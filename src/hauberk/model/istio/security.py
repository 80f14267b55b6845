"""Istio's `security.istio.io`: who may call whom, and with which proof."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from hauberk.model.istio.selection import PolicyTargetReference, WorkloadSelector
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import Duration, MeshStruct, doc

Strings = tuple[str, ...]


class Source(MeshStruct, frozen=True):
    """Who calls; every field that is set must match, each by one of its values."""

    principals: Annotated[Strings, doc("`TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`; `*` at one end.")] = ()
    not_principals: Strings = ()
    request_principals: Annotated[Strings, doc("`ISSUER/SUBJECT` of a token.")] = ()
    not_request_principals: Strings = ()
    namespaces: Annotated[Strings, doc("Namespaces of the caller.")] = ()
    not_namespaces: Strings = ()
    service_accounts: Annotated[
        tuple[Annotated[str, Meta(max_length=320)], ...], doc("`NAMESPACE/ACCOUNT`.")
    ] = ()
    not_service_accounts: tuple[Annotated[str, Meta(max_length=320)], ...] = ()
    ip_blocks: Annotated[Strings, doc("Addresses or networks of the connection.")] = ()
    not_ip_blocks: Strings = ()
    remote_ip_blocks: Annotated[Strings, doc("Addresses or networks of the first caller.")] = ()
    not_remote_ip_blocks: Strings = ()
    trust_domains: Annotated[Strings, doc("Trust domains of the caller.")] = ()
    not_trust_domains: Strings = ()


class From(MeshStruct, frozen=True):
    """One kind of caller."""

    source: Source | None = None


class Operation(MeshStruct, frozen=True):
    """What is called; every field that is set must match, each by one of its values."""

    hosts: Annotated[Strings, doc("Host names of the request.")] = ()
    not_hosts: Strings = ()
    ports: Annotated[Strings, doc("Ports of the pod.")] = ()
    not_ports: Strings = ()
    methods: Annotated[Strings, doc("HTTP methods; POST for gRPC.")] = ()
    not_methods: Strings = ()
    paths: Annotated[Strings, doc("HTTP paths; `*` at one end; `/PACKAGE.SERVICE/METHOD` for gRPC.")] = ()
    not_paths: Strings = ()


class To(MeshStruct, frozen=True):
    """One kind of call."""

    operation: Operation | None = None


class Condition(MeshStruct, frozen=True):
    """A further attribute and the values that it must, or must not, have."""

    key: Annotated[str, doc("`source.namespace`, `request.headers[NAME]`, `request.auth.claims[NAME]`, …")]
    values: Strings = ()
    not_values: Strings = ()


class Rule(MeshStruct, frozen=True):
    """Matches when a `from`, a `to` and every `when` match; what is left out matches all."""

    from_: Annotated[tuple[From, ...], doc("Who calls.")] = field(name="from", default=())
    to: Annotated[tuple[To, ...], doc("What is called.")] = ()
    when: Annotated[tuple[Condition, ...], doc("Further conditions.")] = ()


class ExtensionProvider(MeshStruct, frozen=True):
    """An authorizer outside the proxy, by name."""

    name: str | None = None


class AuthorizationPolicySpec(MeshStruct, frozen=True):
    """Which calls to which workloads are allowed, denied or audited."""

    selector: Annotated[
        WorkloadSelector | None, doc("Pods that it applies to; all of the namespace if left out.")
    ] = None
    target_ref: PolicyTargetReference | None = None
    target_refs: Annotated[
        tuple[PolicyTargetReference, ...], doc("Gateways or services that it applies to.")
    ] = ()
    action: Annotated[Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] | None, doc("ALLOW if left out.")] = None
    rules: Annotated[
        tuple[Rule, ...], doc("One must match. None at all: an ALLOW policy that allows nothing.")
    ] = ()
    provider: ExtensionProvider | None = None


class AuthorizationPolicy(MeshStruct, frozen=True):
    """Who may call what. DENY comes before ALLOW; a workload with any ALLOW policy refuses all else."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[AuthorizationPolicySpec, doc("Which calls, and what becomes of them.")] = (
        AuthorizationPolicySpec()
    )
    status: dict[str, Any] | None = None


class MutualTls(MeshStruct, frozen=True):
    """Whether callers must prove who they are."""

    mode: Annotated[
        Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"] | None,
        doc("STRICT refuses plain text, PERMISSIVE takes both."),
    ] = None


class PeerAuthenticationSpec(MeshStruct, frozen=True):
    """Whether workloads take plain text."""

    selector: Annotated[
        WorkloadSelector | None, doc("Pods that it applies to; all of the namespace if left out.")
    ] = None
    mtls: Annotated[MutualTls | None, doc("For all ports.")] = None
    port_level_mtls: Annotated[dict[str, MutualTls], doc("By port of the pod; needs a selector.")] = field(
        default_factory=dict
    )


class PeerAuthentication(MeshStruct, frozen=True):
    """Whether workloads take plain text, or only mutual TLS."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[PeerAuthenticationSpec, doc("Which workloads, and which mode.")] = (
        PeerAuthenticationSpec()
    )
    status: dict[str, Any] | None = None


class JwtHeader(MeshStruct, frozen=True):
    """A header in which a token is looked for."""

    name: Annotated[str, Meta(min_length=1)]
    prefix: str | None = None


class ClaimToHeader(MeshStruct, frozen=True):
    """A claim that is passed on as a header."""

    header: Annotated[str, Meta(min_length=1)]
    claim: Annotated[str, Meta(min_length=1)]


class JwtRule(MeshStruct, frozen=True):
    """Tokens of one issuer."""

    issuer: str | None = None
    audiences: Strings = ()
    jwks_uri: str | None = None
    jwks_uri_old: Annotated[str | None, doc("Old name of jwksUri.")] = field(name="jwks_uri", default=None)
    jwks: str | None = None
    from_headers: tuple[JwtHeader, ...] = ()
    from_params: Strings = ()
    from_cookies: Strings = ()
    output_payload_to_header: str | None = None
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    forward_original_token: bool | None = None
    space_delimited_claims: Strings = ()
    timeout: Duration | None = None


class RequestAuthenticationSpec(MeshStruct, frozen=True):
    """Which tokens workloads accept."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: tuple[PolicyTargetReference, ...] = ()
    jwt_rules: Annotated[tuple[JwtRule, ...], doc("One for each issuer.")] = ()


class RequestAuthentication(MeshStruct, frozen=True):
    """Which tokens workloads accept in requests."""

    metadata: ObjectMeta = ObjectMeta()
    spec: RequestAuthenticationSpec = RequestAuthenticationSpec()
    status: dict[str, Any] | None = None
