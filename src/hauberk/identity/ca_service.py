"""The CA's gRPC services: what a node may ask over mutual TLS, and who a caller is."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID

from hauberk.identity.authority import AuthorityError, CertificateAuthority
from hauberk.identity.bundle import TrustBundle, TrustBundles, chain_pem
from hauberk.identity.certificate import API, RefusedRequestError, is_issued_for
from hauberk.identity.protocol import identity_pb2, identity_pb2_grpc, istio_ca_pb2, istio_ca_pb2_grpc
from hauberk.identity.spiffe_id import InvalidSpiffeIdError, SpiffeId

NODE_PREFIX = "system:node:"
NODE_ORGANIZATION = "system:nodes"


class Refused(Exception):  # noqa: N818
    """A node may not have what it asks for; the message is the reason that it hears."""


Authorize = Callable[[str, SpiffeId, str], Awaitable[None]]
"""(node, SPIFFE ID, pod's UID) → None, or raises `Refused`: is that pod on that node under that account?"""


def node_name(auth_context: dict[str, list[bytes]]) -> str:
    """The node that the peer's client certificate names (`CN=system:node:NAME, O=system:nodes`).

    Raises:
        Refused: no client certificate, one of somebody else, or one that was not issued for the API.
    """
    pem = next(iter(auth_context.get("x509_pem_cert", ())), None)
    if pem is None:
        raise Refused("expected a node's client certificate, found none")
    certificate = x509.load_pem_x509_certificate(pem)
    if not is_issued_for(certificate, API):
        raise Refused(
            "expected a client certificate by the API's own intermediate, found one by "
            f"{certificate.issuer.rfc4514_string()}"
        )
    common_names = [
        str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    organizations = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    named = len(common_names) == 1 and common_names[0].startswith(NODE_PREFIX)
    if not named or NODE_ORGANIZATION not in {each.value for each in organizations}:
        raise Refused(
            f"expected a client certificate with CN={NODE_PREFIX}NAME and O={NODE_ORGANIZATION}, "
            f"found {certificate.subject.rfc4514_string() or 'an empty subject'}"
        )
    return common_names[0].removeprefix(NODE_PREFIX)


def add_ca_services(server: Any, authority: CertificateAuthority, authorize: Authorize) -> None:
    """Serve the CA on a `grpc.aio` server (or anything that takes generic handlers) with mutual TLS."""
    istio_ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(  # type: ignore[no-untyped-call]
        CertificateService(authority, authorize), server
    )
    identity_pb2_grpc.add_IdentityServiceServicer_to_server(  # type: ignore[no-untyped-call]
        IdentityService(authority, authorize), server
    )


class CertificateService(istio_ca_pb2_grpc.IstioCertificateServiceServicer):
    """`CreateCertificate`: a node asks in the name of a pod that is bound to it."""

    def __init__(self, authority: CertificateAuthority, authorize: Authorize) -> None:
        self._authority = authority
        self._authorize = authorize

    async def CreateCertificate(self, request: Any, context: Any) -> Any:  # noqa: N802
        fields = request.metadata.fields
        wanted = fields["ImpersonatedIdentity"].string_value if "ImpersonatedIdentity" in fields else ""
        pod_uid = fields["PodUID"].string_value if "PodUID" in fields else ""
        spiffe_id = await _permitted(context, self._authorize, wanted, pod_uid)
        # A duration that no timedelta can hold is as good as the longest.
        seconds = min(request.validity_duration, 10**9)
        ttl = timedelta(seconds=seconds) if seconds > 0 else None
        try:
            issued = self._authority.sign_workload(request.csr.encode(), spiffe_id, ttl)
        except RefusedRequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except AuthorityError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        roots = self._authority.bundles.own.x509_authorities
        root = [each for each in roots if each.subject == issued.chain[-1].issuer]
        return istio_ca_pb2.IstioCertificateResponse(
            cert_chain=[chain_pem([each]).decode() for each in (*issued.chain, *root)]
        )


class IdentityService(identity_pb2_grpc.IdentityServiceServicer):
    """Trust bundles for every node, JWT-SVIDs for the pods that are bound to it."""

    def __init__(self, authority: CertificateAuthority, authorize: Authorize) -> None:
        self._authority = authority
        self._authorize = authorize

    async def WatchTrustBundles(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        await _node(context)
        async for bundles in self._authority.watched_bundles.changes():
            yield _bundles_message(bundles)

    async def SignJwtSvid(self, request: Any, context: Any) -> Any:  # noqa: N802
        spiffe_id = await _permitted(context, self._authorize, request.spiffe_id, request.pod_uid)
        try:
            token = self._authority.sign_jwt(spiffe_id, list(request.audience))
        except (AuthorityError, ValueError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return identity_pb2.SignJwtSvidResponse(token=token)


async def _node(context: Any) -> str:
    try:
        return node_name(context.auth_context())
    except Refused as refused:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(refused))
        raise


async def _permitted(context: Any, authorize: Authorize, wanted: str, pod_uid: str) -> SpiffeId:
    node = await _node(context)
    try:
        spiffe_id = SpiffeId.parse(wanted)
        if not pod_uid:
            raise Refused("expected the pod's UID, found none")
        await authorize(node, spiffe_id, pod_uid)
    except InvalidSpiffeIdError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        raise
    except Refused as refused:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"node {node}: {refused}")
        raise
    return spiffe_id


def _bundles_message(bundles: TrustBundles) -> Any:
    return identity_pb2.TrustBundles(
        own=_bundle_message(bundles.own), federated=[_bundle_message(each) for each in bundles.federated]
    )


def _bundle_message(bundle: TrustBundle) -> Any:
    return identity_pb2.TrustBundle(trust_domain=str(bundle.trust_domain), jwks=bundle.jwks())
