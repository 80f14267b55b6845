"""Rules on the other kinds of Kubernetes."""

import base64
import binascii

from hauberk.model.admission.metadata import admit_selector
from hauberk.model.admission.syntax import (
    Errors,
    data_key,
    dns_label,
    dns_subdomain,
    forbidden,
    host_name,
    invalid,
    ip_address,
    labels,
    not_supported,
    port_reference,
    required,
    unique,
)
from hauberk.model.kubernetes.apiextensions import CustomResourceDefinition
from hauberk.model.kubernetes.certificates import CertificateSigningRequest
from hauberk.model.kubernetes.configuration import ConfigMap, Secret
from hauberk.model.kubernetes.discovery import EndpointSlice
from hauberk.model.kubernetes.rbac import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding
from hauberk.model.kubernetes.service import Service, ServiceSpec
from hauberk.model.kubernetes.volume_claim import PersistentVolumeClaim

_MOST_DATA_BYTES = 1024 * 1024
_TLS_KEYS = ("tls.crt", "tls.key")


def admit_service(new: Service, old: Service | None) -> Errors:
    """Ports with distinct names, a selector of labels, an address that stays."""
    if new.spec is None:
        yield required("spec")
        return
    spec = new.spec
    yield from labels(spec.selector, "spec.selector")
    if spec.type == "ExternalName":
        if not spec.external_name:
            yield required("spec.externalName")
        else:
            yield from host_name(spec.external_name, "spec.externalName", wildcard=False)
    elif not spec.ports and spec.cluster_ip != "None":
        yield required("spec.ports", "expected at least one port")
    yield from _admit_ports(spec)
    if spec.cluster_ip and spec.cluster_ip != "None":
        yield from ip_address(spec.cluster_ip, "spec.clusterIP")
    yield from _admit_families(spec)
    stored = old.spec.cluster_ip if old is not None and old.spec is not None else None
    if stored and spec.type != "ExternalName" and spec.cluster_ip not in {None, "", stored}:
        yield forbidden("spec.clusterIP", f"cannot be changed from {stored}: make a new service")


def _admit_families(spec: ServiceSpec) -> Errors:
    """At most one address and one family of each version of IP."""
    for index, address in enumerate(spec.cluster_ips):
        if address != "None" or len(spec.cluster_ips) > 1:
            yield from ip_address(address, f"spec.clusterIPs[{index}]")
    if spec.cluster_ips and spec.cluster_ip and spec.cluster_ips[0] != spec.cluster_ip:
        yield invalid("spec.clusterIPs[0]", f"expected spec.clusterIP, {spec.cluster_ip}")
    versions = [":" in address for address in spec.cluster_ips]
    if len(versions) != len(set(versions)):
        yield invalid("spec.clusterIPs", "expected at most one IPv4 and one IPv6 address")
    families = spec.ip_families
    if len(families) != len(set(families)):
        yield invalid("spec.ipFamilies", "expected each family once")
    if spec.ip_family_policy == "SingleStack" and len(families) > 1:
        yield invalid("spec.ipFamilyPolicy", "SingleStack has one family: take one of spec.ipFamilies away")
    for index, (family, six) in enumerate(zip(families, versions, strict=False)):
        if (family == "IPv6") is not six and spec.cluster_ips[index] != "None":
            yield invalid(
                f"spec.clusterIPs[{index}]", f"expected an {family} address as spec.ipFamilies says"
            )


def _admit_ports(spec: ServiceSpec) -> Errors:
    named = [(port.name or "", f"spec.ports[{index}].name") for index, port in enumerate(spec.ports)]
    if len(spec.ports) > 1:
        for name, path in named:
            if not name:
                yield required(path, "is required when there are several ports")
    yield from unique([(name, path) for name, path in named if name], "port name")
    numbers = [
        (f"{port.port}/{port.protocol or 'TCP'}", f"spec.ports[{index}].port")
        for index, port in enumerate(spec.ports)
    ]
    yield from unique(numbers, "port")
    for index, port in enumerate(spec.ports):
        if port.name:
            yield from dns_label(port.name, f"spec.ports[{index}].name")
        if port.target_port is not None:
            yield from port_reference(port.target_port, f"spec.ports[{index}].targetPort")


def admit_config_map(new: ConfigMap, old: ConfigMap | None) -> Errors:
    """Keys that can be file names, in one of `data` and `binaryData`, at most 1 MiB."""
    for field, values in (("data", new.data), ("binaryData", new.binary_data)):
        for key in values:
            yield from data_key(key, f"{field}[{key}]")
    for key in new.data.keys() & new.binary_data.keys():
        yield invalid(f"binaryData[{key}]", "is in data too: remove one")
    yield from _admit_base64(new.binary_data, "binaryData")
    yield from _admit_size([*new.data.values(), *new.binary_data.values()])
    if old is not None and old.immutable and (new.data, new.binary_data) != (old.data, old.binary_data):
        yield forbidden("data", "cannot be changed: the object is immutable; make a new one")


def admit_secret(new: Secret, old: Secret | None) -> Errors:
    """Base64 under keys that can be file names, at most 1 MiB, with the keys that its type needs."""
    for key in (*new.data, *new.string_data):
        yield from data_key(key, f"data[{key}]")
    yield from _admit_base64(new.data, "data")
    yield from _admit_size([*new.data.values(), *new.string_data.values()])
    if new.type == "kubernetes.io/tls":
        for key in _TLS_KEYS:
            if key not in new.data and key not in new.string_data:
                yield required(f"data[{key}]", f"is required in a secret of type {new.type}")
    if old is None:
        return
    if new.type != old.type:
        yield forbidden("type", f'cannot be changed from "{old.type}": make a new secret')
    if old.immutable and new.data != old.data:
        yield forbidden("data", "cannot be changed: the secret is immutable; make a new one")


def _admit_base64(values: dict[str, str], path: str) -> Errors:
    for key, value in values.items():
        try:
            base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            yield invalid(
                f"{path}[{key}]", "expected base64; write plain text under stringData (Secret) or data"
            )


def _admit_size(values: list[str]) -> Errors:
    size = sum(len(value.encode(errors="surrogatepass")) for value in values)
    if size > _MOST_DATA_BYTES:
        yield invalid("data", f"expected at most {_MOST_DATA_BYTES} bytes in all, found {size}")


def admit_claim(new: PersistentVolumeClaim, old: PersistentVolumeClaim | None) -> Errors:
    """How much storage, and how it is accessed; only the size can grow."""
    spec = new.spec
    if spec is None:
        yield required("spec")
        return
    if not spec.access_modes:
        yield required("spec.accessModes", "expected at least one, ReadWriteOnce for most")
    if spec.resources is None or "storage" not in spec.resources.requests:
        yield required("spec.resources.requests[storage]", "is required, such as 1Gi")
    if spec.selector is not None:
        yield from admit_selector(spec.selector, "spec.selector")
    if old is not None and old.spec is not None and spec.access_modes != old.spec.access_modes:
        yield forbidden("spec.accessModes", "cannot be changed: make a new claim")


def admit_role(new: Role | ClusterRole, _old: Role | ClusterRole | None) -> Errors:
    """Each rule names verbs, and resources or paths."""
    for index, rule in enumerate(new.rules):
        yield from _admit_rule(rule, f"rules[{index}]", namespaced=isinstance(new, Role))


def _admit_rule(rule: PolicyRule, path: str, *, namespaced: bool) -> Errors:
    if not rule.verbs:
        yield required(f"{path}.verbs", "expected at least one verb, such as get")
    if rule.non_resource_urls:
        if namespaced:
            yield invalid(f"{path}.nonResourceURLs", "a Role cannot allow paths: use a ClusterRole")
        if rule.resources or rule.api_groups or rule.resource_names:
            yield invalid(
                f"{path}.nonResourceURLs", "a rule is for resources or for paths, not both: split it"
            )
        return
    if not rule.api_groups:
        yield required(f"{path}.apiGroups", 'expected at least one group; the core group is ""')
    if not rule.resources:
        yield required(f"{path}.resources", "expected at least one resource, such as pods")


def admit_binding(
    new: RoleBinding | ClusterRoleBinding, old: RoleBinding | ClusterRoleBinding | None
) -> Errors:
    """Subjects that are named in full, and a role that stays."""
    if isinstance(new, ClusterRoleBinding) and new.role_ref.kind != "ClusterRole":
        yield not_supported("roleRef.kind", f'expected ClusterRole, found "{new.role_ref.kind}"')
    for index, subject in enumerate(new.subjects):
        if not subject.name:
            yield required(f"subjects[{index}].name")
        if subject.kind == "ServiceAccount" and not subject.namespace:
            yield required(f"subjects[{index}].namespace", "is required for a service account")
    if old is not None and new.role_ref != old.role_ref:
        yield forbidden("roleRef", "cannot be changed: delete the binding and make a new one")


def admit_endpoint_slice(new: EndpointSlice, old: EndpointSlice | None) -> Errors:
    """Addresses of the slice's kind."""
    for index, endpoint in enumerate(new.endpoints):
        for number, address in enumerate(endpoint.addresses):
            if new.address_type != "FQDN":
                yield from ip_address(address, f"endpoints[{index}].addresses[{number}]")
    if old is not None and new.address_type != old.address_type:
        yield forbidden("addressType", "cannot be changed: make a new slice")


def admit_signing_request(new: CertificateSigningRequest, old: CertificateSigningRequest | None) -> Errors:
    """A PEM request for a named signer, which stays."""
    try:
        text = base64.b64decode(new.spec.request, validate=True)
    except (binascii.Error, ValueError):
        text = b""
    if (
        b"-----BEGIN CERTIFICATE REQUEST-----" not in text
        and b"-----BEGIN NEW CERTIFICATE REQUEST-----" not in text
    ):
        yield invalid("spec.request", "expected a certificate request in PEM, in base64")
    if "/" not in new.spec.signer_name:
        yield invalid("spec.signerName", f'expected DOMAIN/NAME, found "{new.spec.signer_name}"')
    if old is not None and new.spec != old.spec:
        yield forbidden("spec", "cannot be changed: make a new request")


def admit_definition(new: CustomResourceDefinition, old: CustomResourceDefinition | None) -> Errors:
    """Named PLURAL.GROUP, with schemas, and exactly one version that is stored."""
    spec = new.spec
    expected = f"{spec.names.plural}.{spec.group}"
    if new.metadata.name and new.metadata.name != expected:
        yield invalid("metadata.name", f'expected "{expected}", found "{new.metadata.name}"')
    yield from dns_subdomain(spec.group, "spec.group")
    stored = [version.name for version in spec.versions if version.storage]
    if len(stored) != 1:
        yield invalid(
            "spec.versions", f"expected exactly one version with storage: true, found {len(stored)}"
        )
    yield from unique(
        [(version.name, f"spec.versions[{index}].name") for index, version in enumerate(spec.versions)],
        "version",
    )
    for index, version in enumerate(spec.versions):
        if version.schema is None or not version.schema.open_api_v3_schema:
            yield required(f"spec.versions[{index}].schema.openAPIV3Schema")
    if spec.conversion is not None and spec.conversion.strategy == "Webhook":
        yield not_supported("spec.conversion.strategy", "Webhook is not supported here: use None")
    if old is not None and (spec.group, spec.names.kind, spec.scope) != (
        old.spec.group,
        old.spec.names.kind,
        old.spec.scope,
    ):
        yield forbidden(
            "spec", "group, kind and scope cannot be changed: delete the definition and make a new one"
        )
