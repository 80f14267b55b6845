"""`istio.v1.auth.IstioCertificateService`: a node asks for an SVID of one of its pods."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc

from hauberk.daemon.admission import Refusal
from hauberk.daemon.peer import Peer, peer_of
from hauberk.identity.authority import AuthorityError, CertificateAuthority
from hauberk.identity.bundle import chain_pem
from hauberk.identity.certificate import RefusedRequestError, serial_hex
from hauberk.identity.protocol import istio_ca_pb2
from hauberk.identity.spiffe_id import InvalidSpiffeIdError, SpiffeId

Judge = Callable[[Peer, str, str], Refusal | None]
"""(who asks, the SPIFFE ID that it asks for, the pod's UID) → why not, or None."""

log = logging.getLogger(__name__)


def certificate_service(authority: CertificateAuthority, judge: Judge) -> grpc.GenericRpcHandler:
    """The service; it asks `judge` before it signs."""

    async def create(request: Any, context: Any) -> Any:
        fields = request.metadata.fields
        wanted, pod_uid = fields["ImpersonatedIdentity"].string_value, fields["PodUID"].string_value
        refusal = judge(peer_of(context), wanted, pod_uid)
        if refusal is not None:
            log.warning("no SVID %s for pod %s: %s", wanted, pod_uid, refusal.reason)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, refusal.reason)
        lifetime = timedelta(seconds=request.validity_duration) if request.validity_duration > 0 else None
        try:
            issued = authority.sign_workload(request.csr.encode(), SpiffeId.parse(wanted), lifetime)
        except (RefusedRequestError, InvalidSpiffeIdError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except (AuthorityError, OSError) as error:
            log.error("no SVID %s for pod %s: %s", wanted, pod_uid, error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        log.info("SVID %s, serial %s, for pod %s", wanted, serial_hex(issued.leaf), pod_uid)
        chain = [chain_pem([each]).decode() for each in issued.chain]
        return istio_ca_pb2.IstioCertificateResponse(cert_chain=[*chain, authority.roots_pem.decode()])

    handler: grpc.GenericRpcHandler = grpc.method_handlers_generic_handler(
        "istio.v1.auth.IstioCertificateService",
        {
            "CreateCertificate": grpc.unary_unary_rpc_method_handler(
                create,
                request_deserializer=istio_ca_pb2.IstioCertificateRequest.FromString,
                response_serializer=istio_ca_pb2.IstioCertificateResponse.SerializeToString,
            )
        },
    )
    return handler
