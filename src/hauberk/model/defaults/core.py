"""Defaults of the other kinds of Kubernetes."""

import base64

from hauberk.model.kind import Object

_RBAC = "rbac.authorization.k8s.io"


def default_namespace(obj: Object) -> None:
    """Active, and labelled with its own name."""
    name = obj["metadata"].get("name")
    if name:
        labels = obj["metadata"].get("labels") or {}
        obj["metadata"]["labels"] = {**labels, "kubernetes.io/metadata.name": name}
    status = obj.get("status") or {}
    status.setdefault("phase", "Active")
    obj["status"] = status


def default_service(obj: Object) -> None:
    """A cluster address, whose ports are TCP and lead to ports of the same number."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", 10800)
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in {"NodePort", "LoadBalancer"}:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in {None, 0, ""} and "port" in port:
            port["targetPort"] = port["port"]


def default_network_policy(obj: Object) -> None:
    """It isolates for calls to its pods, and for calls from them if it has rules for these; ports are TCP."""
    spec = obj.get("spec")
    if spec is None:
        return
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def default_secret(obj: Object) -> None:
    """Opaque; `stringData` becomes part of `data`."""
    obj.setdefault("type", "Opaque")
    text = obj.pop("stringData", None)
    if text:
        data = obj.get("data") or {}
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in text.items()}
        obj["data"] = {**data, **encoded}


def default_claim(obj: Object) -> None:
    """A file system, pending until it is bound."""
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    status = obj.get("status") or {}
    status.setdefault("phase", "Pending")
    obj["status"] = status


def default_volume(obj: Object) -> None:
    """A file system that is kept when its claim goes."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    status = obj.get("status") or {}
    status.setdefault("phase", "Pending")
    obj["status"] = status


def default_endpoint_slice(obj: Object) -> None:
    """Ports are TCP and have an empty name."""
    for port in obj.get("ports") or []:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def default_binding(obj: Object) -> None:
    """Roles and users are of the RBAC group."""
    obj.setdefault("roleRef", {}).setdefault("apiGroup", _RBAC)
    for subject in obj.get("subjects") or []:
        if subject.get("kind") != "ServiceAccount":
            subject.setdefault("apiGroup", _RBAC)


def default_storage_class(obj: Object) -> None:
    """Volumes are made at once and deleted with their claims."""
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def default_definition(obj: Object) -> None:
    """Singular and list names follow from the kind."""
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = str(names.get("kind", ""))
    names.setdefault("singular", kind.lower())
    names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {}).setdefault("strategy", "None")
