"""An authorizer over gRPC (`envoy.service.auth.v3.Authorization/Check`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from hauberk.sdk.decision import Allow, Decide, Decision, Request
from hauberk.sdk.messages import CheckRequest, CheckResponse

SERVICE = "envoy.service.auth.v3.Authorization"
_PERMISSION_DENIED = 7
_OVERWRITE_OR_ADD = 2


def handler(decide: Decide) -> grpc.GenericRpcHandler:
    """For a server of `grpc.aio`. Whatever `decide` raises is INTERNAL: the provider's `failOpen` says what follows."""

    async def check(asked: Any, _context: Any) -> Any:
        return answer(await decide(request(asked)))

    method = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=CheckRequest.FromString,
        response_serializer=CheckResponse.SerializeToString,
    )
    made: grpc.GenericRpcHandler = grpc.method_handlers_generic_handler(SERVICE, {"Check": method})
    return made


def request(asked: Any) -> Request:
    """What a message asks."""
    attributes = asked.attributes
    http = attributes.request.http
    return Request(
        caller=attributes.source.principal,
        callee=attributes.destination.principal,
        method=http.method,
        path=http.path,
        host=http.host,
        headers={entry.key: entry.value for entry in http.headers},
        body=http.raw_body or http.body.encode(),
        source_address=attributes.source.address.socket_address.address,
        destination_port=attributes.destination.address.socket_address.port_value,
    )


def answer(decision: Decision) -> Any:
    """A decision as a message."""
    response = CheckResponse()
    if isinstance(decision, Allow):
        response.status.code = 0
        _add(response.ok_response.headers, decision.headers)
        response.ok_response.headers_to_remove.extend(decision.remove_headers)
        _add(response.ok_response.response_headers_to_add, decision.response_headers)
    else:
        response.status.code = _PERMISSION_DENIED
        response.denied_response.status.code = decision.status
        response.denied_response.body = decision.body
        _add(response.denied_response.headers, decision.headers)
    return response


def _add(options: Any, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        option = options.add(append_action=_OVERWRITE_OR_ADD)
        option.header.key, option.header.value = name, value
