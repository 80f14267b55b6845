"""The PyPI package `spiffe` at a Workload API socket, as a program: a call a line in, its outcome a line out.

A process apart, since its protobuf messages have the same names as ours.
"""

import base64
import json
import sys
from collections.abc import Callable
from typing import Any

import spiffe
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


def _der(certificates: Any) -> list[str]:
    return [base64.b64encode(_certificate(each)).decode() for each in certificates]


def _certificate(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _svid(svid: Any) -> dict[str, Any]:
    same = svid.leaf.public_key() == svid.private_key.public_key()
    return {"id": str(svid.spiffe_id), "chain": _der(svid.cert_chain), "key_fits": same}


def _bundles(found: Any) -> dict[str, list[str]]:
    return {each.trust_domain.name: sorted(_der(each.x509_authorities)) for each in found}


def _context(client: spiffe.WorkloadApiClient) -> dict[str, Any]:
    context = client.fetch_x509_context()
    return {**_svid(context.default_svid), "bundles": _bundles(context.x509_bundle_set.bundles)}


def _jwt(client: spiffe.WorkloadApiClient, audience: list[str], subject: str = "") -> str:
    wanted = spiffe.SpiffeId(subject) if subject else None
    return client.fetch_jwt_svid(set(audience), wanted).token


CALLS: dict[str, Callable[..., Any]] = {
    "svid": lambda client: _svid(client.fetch_x509_svid()),
    "context": _context,
    "bundles": lambda client: _bundles(client.fetch_x509_bundles().bundles),
    "jwt_bundles": lambda client: sorted(
        each.trust_domain.name for each in client.fetch_jwt_bundles().bundles
    ),
    "jwt": _jwt,
    "validate": lambda client, token, audience: str(client.validate_jwt_svid(token, audience).spiffe_id),
}


def _say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    with spiffe.WorkloadApiClient(f"unix://{sys.argv[1]}") as client:
        if sys.argv[2:] == ["stream"]:
            client.stream_x509_contexts(
                on_success=lambda context: _say(context.default_svid.leaf.serial_number),
                on_error=lambda error: None,
            )
            sys.stdin.read()
            return
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            try:
                _say({"value": CALLS[name](client, *arguments)})
            except Exception as error:  # noqa: BLE001 - whatever it is, its name is the outcome
                _say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
