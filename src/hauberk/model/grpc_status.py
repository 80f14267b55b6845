"""The status codes of gRPC by name (gRPC, "Status codes and their use in gRPC")."""

from collections.abc import Mapping
from types import MappingProxyType

GRPC_STATUS_CODES: Mapping[str, int] = MappingProxyType(
    {
        name: number
        for number, name in enumerate(
            (
                "OK",
                "CANCELLED",
                "UNKNOWN",
                "INVALID_ARGUMENT",
                "DEADLINE_EXCEEDED",
                "NOT_FOUND",
                "ALREADY_EXISTS",
                "PERMISSION_DENIED",
                "RESOURCE_EXHAUSTED",
                "FAILED_PRECONDITION",
                "ABORTED",
                "OUT_OF_RANGE",
                "UNIMPLEMENTED",
                "INTERNAL",
                "UNAVAILABLE",
                "DATA_LOSS",
                "UNAUTHENTICATED",
            )
        )
    }
)
