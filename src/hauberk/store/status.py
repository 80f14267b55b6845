"""Errors of the API as a Kubernetes API server words them (`metav1.Status`)."""

from collections.abc import Sequence
from typing import Any

from hauberk.model.kind import FieldError, Kind, Object
from hauberk.store.client import ApiError

PATCH_TYPES = (
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"
)


def qualified(kind: Kind) -> str:
    """`deployments.apps`, or `pods`."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _details(kind: Kind, name: str = "", **more: Any) -> dict[str, Any]:
    found = {"name": name, "group": kind.group, "kind": kind.plural, **more}
    return {key: value for key, value in found.items() if value}


def not_found(kind: Kind, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{qualified(kind)} "{name}" not found', _details(kind, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(kind: Kind, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{qualified(kind)} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiError:
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    message = f'Operation cannot be fulfilled on {qualified(kind)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(kind, name))


def invalid(kind: Kind, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422 with every error at once."""
    words = [f"{error.field}: {error.message}" if error.field else error.message for error in errors]
    listed = words[0] if len(words) == 1 else f"[{', '.join(words)}]"
    details: dict[str, Any] = {
        "kind": kind.name,
        "causes": [{"reason": e.reason, "message": e.message, "field": e.field} for e in errors],
    }
    if kind.group:
        details["group"] = kind.group
    if name:
        details["name"] = name
    return ApiError(
        422,
        "Invalid",
        f'{kind.name}{"." + kind.group if kind.group else ""} "{name}" is invalid: {listed}',
        details,
    )


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(kind: Kind, name: str, why: str, causes: Sequence[dict[str, str]] = ()) -> ApiError:
    subject = f'{qualified(kind)} "{name}"' if name else qualified(kind)
    details = _details(kind, name, causes=list(causes))
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", details)


def method_not_allowed() -> ApiError:
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
    )


def unsupported_media_type(accepted: str = "application/json, application/yaml") -> ApiError:
    return ApiError(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {accepted}",
    )


def not_acceptable(accepted: str = "application/json") -> ApiError:
    return ApiError(
        406,
        "NotAcceptable",
        f"only the following media types are accepted: {accepted}",
    )


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def too_large(why: str = "limit is 3145728") -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {why}")


def too_many_requests(message: str) -> ApiError:
    return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": 1})


def internal(message: str) -> ApiError:
    return ApiError(500, "InternalError", f"Internal error occurred: {message}")


def unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)


def to_status(error: ApiError) -> Object:
    """The error as the body of an answer."""
    status: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "code": error.code,
        "details": error.details,  # always: kubectl does not look whether they are there
    }
    return status


def from_status(code: int, status: Any) -> ApiError:
    """The error that an answer's body tells of; `code` is the HTTP status."""
    if not isinstance(status, dict) or status.get("kind") != "Status":
        return ApiError(code, "Unknown", f"expected a Status, found {str(status)[:200]!r}")
    details = status.get("details")
    return ApiError(
        int(status.get("code") or code),
        str(status.get("reason") or "Unknown"),
        str(status.get("message") or ""),
        details if isinstance(details, dict) else {},
    )
