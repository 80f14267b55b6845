"""CertificateSigningRequests for a node's own certificates: approve what the node may have, and only that.

The signers are Kubernetes' (`kubernetes.io/kube-apiserver-client-kubelet`, `kubernetes.io/kubelet-serving`); requests
for other signers are left to whoever serves those.
"""

import base64
import binascii
import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hauberk.daemon.admission import Refusal
from hauberk.model.kind import Object

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING_SIGNER = "kubernetes.io/kubelet-serving"
SIGNERS = (CLIENT_SIGNER, SERVING_SIGNER)
_USAGES = {
    CLIENT_SIGNER: ({"client auth"}, {"client auth", "digital signature", "key encipherment"}),
    SERVING_SIGNER: ({"server auth"}, {"server auth", "digital signature", "key encipherment"}),
}


@dataclass(frozen=True, slots=True)
class Granted:
    """What to sign: for this key, this node, these names (of a serving certificate)."""

    signer: str
    public_key: ec.EllipticCurvePublicKey
    node: str
    names: tuple[str, ...]


def is_open(request: Object) -> bool:
    """Whether it is one of ours and neither signed nor refused."""
    status = request.get("status") or {}
    refused = any(c["type"] in ("Denied", "Failed") for c in status.get("conditions") or ())
    return request["spec"].get("signerName") in SIGNERS and not status.get("certificate") and not refused


def judge(request: Object, addresses: frozenset[str]) -> Granted | Refusal:
    """Whether the requesting node may have this certificate; `addresses` are those of its Node object.

    A node obtains only certificates in its own name, and serving ones only for its own addresses.
    """
    spec = request["spec"]
    user = str(spec.get("username", ""))
    node = user.removeprefix("system:node:")
    if not user.startswith("system:node:") or not node or "system:nodes" not in (spec.get("groups") or ()):
        return Refusal(f"expected a node to ask in its own name, found user {user or '(none)'}")
    parsed = _parse(spec.get("request", ""))
    if isinstance(parsed, Refusal):
        return parsed
    key = parsed.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1
    ):
        return Refusal("expected an ECDSA key on P-256 or P-384")
    common_name = _attributes(parsed, NameOID.COMMON_NAME)
    organizations = _attributes(parsed, NameOID.ORGANIZATION_NAME)
    if common_name != [user] or organizations != ["system:nodes"]:
        return Refusal(f"expected CN={user}, O=system:nodes, found CN={common_name}, O={organizations}")
    signer = spec["signerName"]
    needed, allowed = _USAGES[signer]
    usages = set(spec.get("usages") or ())
    if not needed <= usages <= allowed:
        return Refusal(f"{signer}: expected usages {sorted(allowed)}, found {sorted(usages)}")
    names = _names(parsed)
    if isinstance(names, Refusal):
        return names
    if signer == CLIENT_SIGNER and names:
        return Refusal(
            f"expected no subject alternative name in a client certificate, found {', '.join(names)}"
        )
    if signer == SERVING_SIGNER and not names:
        return Refusal("expected at least one DNS name or IP address in a serving certificate")
    if foreign := set(names) - addresses - {node}:
        return Refusal(f"node {node} has not the address {', '.join(sorted(foreign))}")
    return Granted(signer, key, node, names)


def _parse(encoded: str) -> x509.CertificateSigningRequest | Refusal:
    try:
        parsed = x509.load_pem_x509_csr(base64.b64decode(encoded, validate=True))
        valid = parsed.is_signature_valid
    except (ValueError, TypeError, binascii.Error, x509.InvalidVersion) as error:
        return Refusal(f"expected a PKCS #10 request in PEM, in base64: {error}")
    return parsed if valid else Refusal("the request's signature is not by its own key")


def _attributes(parsed: x509.CertificateSigningRequest, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in parsed.subject.get_attributes_for_oid(oid)]


def _names(parsed: x509.CertificateSigningRequest) -> tuple[str, ...] | Refusal:
    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except (ValueError, x509.DuplicateExtension) as error:
        return Refusal(f"malformed extensions: {error}")
    names: list[str] = []
    for name in found:
        if not isinstance(name, x509.DNSName | x509.IPAddress):
            return Refusal(f"expected DNS names and IP addresses only, found {type(name).__name__}")
        names.append(str(name.value))
    return tuple(names)


def with_condition(request: Object, kind: str, reason: str, message: str, now: datetime) -> Object:
    """The request with an `Approved`, `Denied` or `Failed` condition."""
    changed = copy.deepcopy(request)
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    condition: dict[str, Any] = {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastUpdateTime": moment,
        "lastTransitionTime": moment,
    }
    status = changed.setdefault("status", {})
    status["conditions"] = [*(status.get("conditions") or []), condition]
    return changed
