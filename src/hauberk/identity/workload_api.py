"""The SPIFFE Workload API for one workload, behind a socket that only it can reach."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import struct_pb2

from hauberk.identity.bundle import TrustBundles
from hauberk.identity.jwt_svid import InvalidJwtSvidError, validate_jwt_svid
from hauberk.identity.protocol import workload_pb2, workload_pb2_grpc
from hauberk.identity.svid import Identity, IssuanceError, SvidSource

SECURITY_HEADER = ("workload.spiffe.io", "true")


class WorkloadApi(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """Answers for the workload of `source`; whoever reaches the socket has been identified by the kernel."""

    def __init__(self, source: SvidSource) -> None:
        self._source = source

    async def FetchX509SVID(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        await _require_security_header(context)
        await self._identity(context)
        async for identity in self._source.changes():
            yield _x509_svid_response(identity)

    async def FetchX509Bundles(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        await _require_security_header(context)
        await self._identity(context)
        sent = None
        async for identity in self._source.changes():
            if identity.bundles != sent:
                sent = identity.bundles
                yield workload_pb2.X509BundlesResponse(
                    bundles={str(each.trust_domain.id): each.der for each in (sent.own, *sent.federated)}
                )

    async def FetchJWTSVID(self, request: Any, context: Any) -> Any:  # noqa: N802
        await _require_security_header(context)
        identity = await self._identity(context)
        if not request.audience or not all(request.audience):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "expected at least one audience, none empty"
            )
        own = str(identity.svid.spiffe_id)
        if request.spiffe_id not in {"", own}:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"this workload is {own}, it asked for another identity"
            )
        try:
            token = await self._source.fetch_jwt(list(request.audience))
        except IssuanceError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return workload_pb2.JWTSVIDResponse(svids=[workload_pb2.JWTSVID(spiffe_id=own, svid=token)])

    async def FetchJWTBundles(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        await _require_security_header(context)
        await self._identity(context)
        sent: TrustBundles | None = None
        async for identity in self._source.changes():
            if identity.bundles != sent:
                sent = identity.bundles
                yield workload_pb2.JWTBundlesResponse(
                    bundles={
                        str(each.trust_domain.id): each.jwt_jwks() for each in (sent.own, *sent.federated)
                    }
                )

    async def ValidateJWTSVID(self, request: Any, context: Any) -> Any:  # noqa: N802
        await _require_security_header(context)
        identity = await self._identity(context)
        if not request.audience or not request.svid:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "expected an audience and a token")
        try:
            valid = validate_jwt_svid(request.svid, request.audience, identity.bundles, self._source.now())
        except InvalidJwtSvidError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        claims = struct_pb2.Struct()
        claims.update(valid.claims)
        return workload_pb2.ValidateJWTSVIDResponse(spiffe_id=str(valid.spiffe_id), claims=claims)

    async def _identity(self, context: Any) -> Identity:
        """The identity now. Says why there is none: the commonest question of those who run a workload."""
        identity = self._source.current
        if identity is None or self._source.now() > identity.svid.validity.not_after:
            reason = self._source.failure or "the first SVID has not been issued yet; try again"
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"no identity issued to {self._source.spiffe_id}: {reason}"
            )
        assert identity is not None  # noqa: S101 - abort always raises
        return identity


async def _require_security_header(context: Any) -> None:
    if SECURITY_HEADER not in {(key, value) for key, value in context.invocation_metadata() or ()}:
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, "expected the metadata workload.spiffe.io: true"
        )


def _x509_svid_response(identity: Identity) -> Any:
    svid = identity.svid
    message = workload_pb2.X509SVID(
        spiffe_id=str(svid.spiffe_id),
        x509_svid=svid.chain_der,
        x509_svid_key=svid.key_der(),
        bundle=identity.bundles.own.der,
    )
    federated = {str(each.trust_domain.id): each.der for each in identity.bundles.federated}
    return workload_pb2.X509SVIDResponse(svids=[message], federated_bundles=federated)
