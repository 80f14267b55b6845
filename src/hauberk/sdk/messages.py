"""The messages of `envoy.service.auth.v3` and of the SPIFFE Workload API, as far as an authorizer needs them.

They are described here and made at run time, in a pool of their own, so that no generated code has to fit the version
of protobuf that a program has, and no other package with the same messages is disturbed.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "hauberk.sdk.wire"
_KINDS = {"string": 9, "bytes": 12, "int32": 5, "uint32": 13, "int64": 3, "bool": 8, "message": 11}
# Message → fields as (name, number, kind or message, repeated).
_MESSAGES: dict[str, list[tuple[str, int, str, bool]]] = {
    "SocketAddress": [("address", 2, "string", False), ("port_value", 3, "uint32", False)],
    "Address": [("socket_address", 1, "SocketAddress", False)],
    "Peer": [("address", 1, "Address", False), ("principal", 4, "string", False)],
    "Entry": [("key", 1, "string", False), ("value", 2, "string", False)],
    "HttpRequest": [
        ("id", 1, "string", False),
        ("method", 2, "string", False),
        ("headers", 3, "Entry", True),
        ("path", 4, "string", False),
        ("host", 5, "string", False),
        ("body", 11, "string", False),
        ("raw_body", 12, "bytes", False),
    ],
    "AskedRequest": [("http", 2, "HttpRequest", False)],
    "Attributes": [
        ("source", 1, "Peer", False),
        ("destination", 2, "Peer", False),
        ("request", 4, "AskedRequest", False),
    ],
    "CheckRequest": [("attributes", 1, "Attributes", False)],
    "Status": [("code", 1, "int32", False), ("message", 2, "string", False)],
    "HeaderValue": [("key", 1, "string", False), ("value", 2, "string", False)],
    "Flag": [("value", 1, "bool", False)],
    "HeaderOption": [
        ("header", 1, "HeaderValue", False),
        ("append", 2, "Flag", False),
        ("append_action", 3, "int32", False),
    ],
    "HttpStatus": [("code", 1, "int32", False)],
    "DeniedResponse": [
        ("status", 1, "HttpStatus", False),
        ("headers", 2, "HeaderOption", True),
        ("body", 3, "string", False),
    ],
    "OkResponse": [
        ("headers", 2, "HeaderOption", True),
        ("headers_to_remove", 5, "string", True),
        ("response_headers_to_add", 6, "HeaderOption", True),
    ],
    "CheckResponse": [
        ("status", 1, "Status", False),
        ("denied_response", 2, "DeniedResponse", False),
        ("ok_response", 3, "OkResponse", False),
    ],
    "X509Svid": [
        ("spiffe_id", 1, "string", False),
        ("x509_svid", 2, "bytes", False),
        ("x509_svid_key", 3, "bytes", False),
        ("bundle", 4, "bytes", False),
    ],
    "X509SvidRequest": [],
    "X509SvidResponse": [("svids", 1, "X509Svid", True)],
}


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="hauberk/sdk/wire.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, repeated in fields:
            field: Any = message.field.add(name=field_name, number=number, label=3 if repeated else 1)
            field.type = _KINDS.get(kind, 11)
            if kind not in _KINDS:
                field.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()


def _class(name: str) -> Any:
    descriptor = _POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    make = getattr(message_factory, "GetMessageClass", None)
    if make is None:
        # protobuf before 4.22.
        factory: Any = message_factory.MessageFactory(_POOL)
        make = factory.GetPrototype
    return make(descriptor)


CheckRequest = _class("CheckRequest")
CheckResponse = _class("CheckResponse")
X509SvidRequest = _class("X509SvidRequest")
X509SvidResponse = _class("X509SvidResponse")
