"""Every code that the analysis can report. A code never changes its meaning and is never used again."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a code stands for."""

    code: str
    severity: Severity
    title: str
    explanation: str
    remedy: str


_ENTRIES = (
    Entry("HBK0001", "error", "Not YAML", "The text is neither YAML nor JSON.", ""),
    Entry("HBK0002", "error", "Key written twice", "Of two equal keys one would be lost without a word.", ""),
    Entry(
        "HBK0003",
        "error",
        "Unknown kind",
        "The API does not serve such a kind.",
        "Correct apiVersion and kind.",
    ),
    Entry("HBK0004", "error", "Not accepted", "The object breaks the schema or a rule of its kind.", ""),
    Entry("HBK0006", "error", "Too large", "The text holds more than any manifest needs.", ""),
    Entry("HBK0007", "error", "Not an object", "A document must be an object with apiVersion and kind.", ""),
    Entry(
        "HBK0008",
        "warning",
        "Object written twice",
        "Applied one after another, the last one stays.",
        "Remove one of them.",
    ),
    Entry(
        "HBK0101",
        "error",
        "Route to an unknown service",
        "Requests that take this route are answered with 503.",
        "Correct the host, or add the Service or ServiceEntry.",
    ),
    Entry(
        "HBK0102",
        "error",
        "Route to an unknown subset",
        "No DestinationRule of the host has a subset of that name: requests are answered with 503.",
        "Add the subset to a DestinationRule of the host, or correct its name.",
    ),
    Entry(
        "HBK0103",
        "error",
        "Route to a port that the service does not have",
        "Requests that take this route are answered with 503.",
        "Use one of the service's ports.",
    ),
    Entry(
        "HBK0104",
        "warning",
        "Weights do not add up to 100",
        "Weights are shares of their sum, so that these are not percentages.",
        "Make the weights add up to 100.",
    ),
    Entry(
        "HBK0105",
        "warning",
        "Subset without pods",
        "No pod behind the service has the labels of the subset: routes to it are answered with 503.",
        "Correct the labels, deploy such pods, or remove the subset.",
    ),
    Entry(
        "HBK0106",
        "warning",
        "DestinationRule for an unknown host",
        "The rule has no effect.",
        "Correct the host, or add the Service or ServiceEntry.",
    ),
    Entry(
        "HBK0107",
        "warning",
        "Host in several VirtualServices",
        "Within the mesh only the oldest VirtualService of a host is used.",
        "Put the routes of the host into one VirtualService.",
    ),
    Entry(
        "HBK0108",
        "warning",
        "Route that is never reached",
        "An earlier route takes every request that this one could match.",
        "Move the more specific route before the general one, or remove it.",
    ),
    Entry(
        "HBK0109",
        "warning",
        "Tries that cannot fit into the timeout",
        "The timeout ends the request, retries included, before one try can time out.",
        "Make perTryTimeout shorter than timeout, or timeout longer.",
    ),
    Entry(
        "HBK0110",
        "error",
        "Route without a port to a service with several",
        "It is not clear which port is meant.",
        "Give the destination port.number.",
    ),
    Entry(
        "HBK0111",
        "error",
        "Unknown gateway",
        "The routes are served nowhere.",
        "Correct the name (NAMESPACE/NAME for another namespace), or add the Gateway.",
    ),
    Entry(
        "HBK0112",
        "warning",
        "HTTP route for a port that does not carry HTTP",
        "HTTP routes are not looked at for ports of other protocols.",
        "Name the service's port http-…, http2-… or grpc-…, set appProtocol, or write a tcp route.",
    ),
    Entry(
        "HBK0113",
        "warning",
        "Several DestinationRules for a host",
        "Their subsets are put together, but only one traffic policy is used.",
        "Put them into one DestinationRule.",
    ),
    Entry(
        "HBK0201",
        "warning",
        "Gateway without pods",
        "No pod has the labels of the selector: the ports are open nowhere.",
        "Correct the selector, or deploy gateway pods.",
    ),
    Entry(
        "HBK0202",
        "error",
        "Port used with two protocols",
        "Two servers want the same port of the same pods with different protocols.",
        "Use another port for one of them.",
    ),
    Entry(
        "HBK0203",
        "error",
        "Certificate that is not there",
        "Without the Secret the port cannot speak TLS.",
        "Make a Secret of type kubernetes.io/tls of that name.",
    ),
    Entry(
        "HBK0204",
        "error",
        "Certificate that cannot be used",
        "The port stays closed until the Secret holds a certificate and the key that belongs to it.",
        "Put a PEM certificate chain into tls.crt and its key, without a password, into tls.key.",
    ),
    Entry(
        "HBK0301",
        "warning",
        "AuthorizationPolicy without pods",
        "No pod has the labels of the selector: the policy has no effect.",
        "Correct the selector.",
    ),
    Entry(
        "HBK0302",
        "warning",
        "Principal of an unknown service account",
        "No pod can have this identity.",
        "Correct the principal, or add the ServiceAccount.",
    ),
    Entry(
        "HBK0303",
        "warning",
        "Principal of another trust domain",
        "No pod of this mesh has an identity in that trust domain.",
        "Write the principal with this mesh's trust domain.",
    ),
    Entry(
        "HBK0304",
        "warning",
        "Rule that can never match",
        "Its conditions contradict one another.",
        "Remove one of the conditions, or split the rule.",
    ),
    Entry(
        "HBK0305",
        "error",
        "HTTP condition on a port that does not carry HTTP",
        "A TCP connection has no path, method or host: an ALLOW rule never matches it, and a DENY rule that "
        "only looks at ports applies to all of it.",
        "Limit the rule to ports that carry HTTP, or remove paths, methods and hosts.",
    ),
    Entry(
        "HBK0306",
        "warning",
        "Method that gRPC does not use",
        "Every gRPC call is a POST: other methods never match.",
        "Use POST, and paths of the form /PACKAGE.SERVICE/METHOD.",
    ),
    Entry(
        "HBK0307",
        "warning",
        "PeerAuthentications that overlap",
        "For pods that both apply to, only the oldest is used.",
        "Put them into one, or make their selectors distinct.",
    ),
    Entry(
        "HBK0308",
        "error",
        "Plain text to a service that refuses it",
        "The DestinationRule turns TLS off, and the PeerAuthentication of the service's pods is STRICT.",
        "Remove tls from the DestinationRule: mutual TLS is automatic.",
    ),
    Entry(
        "HBK0309",
        "warning",
        "PeerAuthentication without pods",
        "No pod has the labels of the selector: it has no effect.",
        "Correct the selector.",
    ),
    Entry(
        "HBK0310",
        "error",
        "Keys that cannot be used",
        "Every token of this issuer is refused.",
        "Put a JSON Web Key Set with an RSA, P-256, P-384 or Ed25519 public key into jwks.",
    ),
    Entry(
        "HBK0311",
        "error",
        "Keys that are not fetched",
        "Keys come over HTTPS alone: whoever could change them on the way could sign tokens. All tokens are refused.",
        "Use an https:// address, or put the keys into jwks.",
    ),
    Entry(
        "HBK0401",
        "warning",
        "Service without pods",
        "No pod has the labels of the selector: calls are answered with 503.",
        "Correct the selector or the pods' labels.",
    ),
    Entry(
        "HBK0402",
        "warning",
        "Port without a protocol",
        "The protocol must be guessed from the first bytes of each connection.",
        "Begin the port's name with http, http2, grpc, tcp, tls, …, or set appProtocol.",
    ),
    Entry(
        "HBK0403",
        "error",
        "targetPort that no pod has",
        "A target port by name must be the name of a container's port.",
        "Name the container's port so, or use its number.",
    ),
    Entry(
        "HBK0501",
        "error",
        "Reference to something that is not there",
        "The pod waits until it is.",
        "Correct the name, add the object, or mark the reference as optional.",
    ),
    Entry(
        "HBK0502",
        "error",
        "Probe of a port that the container does not have",
        "A probe's port by name must be the name of the container's port.",
        "Name the container's port so, or use its number.",
    ),
    Entry(
        "HBK0503",
        "error",
        "Image that cannot be run here",
        "Programs come from the node's own file system here; there is nothing that fetches images.",
        "Use `image: host` and give the program under command.",
    ),
    Entry(
        "HBK0504",
        "error",
        "Pod that wants the node's own namespaces",
        "Every pod has namespaces of its own: this is what makes its identity certain.",
        "Remove the field.",
    ),
    Entry(
        "HBK0601",
        "error",
        "Parent that is not there",
        "The route is served nowhere.",
        "Correct parentRefs, or add the Gateway or its listener.",
    ),
    Entry(
        "HBK0602",
        "error",
        "Backend that is not there",
        "Requests for it are answered with 500.",
        "Correct backendRefs, or add the Service or its port.",
    ),
    Entry(
        "HBK0603",
        "error",
        "Backend in another namespace, not granted",
        "A route may point into another namespace only if a ReferenceGrant there allows it.",
        "Add a ReferenceGrant to the backend's namespace.",
    ),
    Entry(
        "HBK0604",
        "error",
        "Certificate in another namespace, not granted",
        "A Gateway may use a Secret of another namespace only if a ReferenceGrant there allows it.",
        "Add a ReferenceGrant to the Secret's namespace, or put the Secret beside the Gateway.",
    ),
    Entry(
        "HBK0605",
        "warning",
        "Gateway of a class that nobody serves",
        "No GatewayClass of that name is known: the Gateway is served nowhere.",
        "Use the class hauberk or istio.",
    ),
    Entry(
        "HBK0701",
        "warning",
        "Telemetry without pods",
        "No pod has the labels of the selector: the object has no effect.",
        "Correct the selector.",
    ),
    Entry(
        "HBK0702",
        "error",
        "Provider that cannot be used",
        "Nothing is sent to a provider that the MeshConfig does not have, or that is of another sort; a CUSTOM policy "
        "of such an authorizer refuses what it matches.",
        "Correct the name, or add the provider to the MeshConfig `default`.",
    ),
    Entry(
        "HBK0703",
        "warning",
        "Several Telemetry objects for the same pods",
        "Only the oldest of them is used.",
        "Put them into one object.",
    ),
    Entry(
        "HBK0704",
        "error",
        "Provider at a service that is not there",
        "Nothing is sent to it.",
        "Correct the service (its full name) and its port, or add the Service.",
    ),
    Entry(
        "HBK0705",
        "error",
        "Provider at a port that does not carry gRPC",
        "Collectors and authorizers are spoken to by gRPC, and the proxy would speak HTTP/1.1 there.",
        "Name the port grpc-…, or set its appProtocol to grpc.",
    ),
    Entry(
        "HBK0706",
        "warning",
        "Metrics cannot be changed",
        "Proxies report Istio's metrics with their usual labels; overrides have no effect.",
        "Remove spec.metrics.",
    ),
    Entry(
        "HBK0707",
        "error",
        "Authorizer at a port that does not carry HTTP",
        "An authorizer over HTTP is asked at ports that are known to carry it: CUSTOM policies refuse what they match.",
        "Name the port http-…, or set its appProtocol to http.",
    ),
)

CATALOGUE = {entry.code: entry for entry in _ENTRIES}
