"""The Gateway API's filter `CORS` in Istio's words (Gateway API, "HTTPCORSFilter")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Spec = Mapping[str, Any]

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_DEFAULT_AGE = 5
"""Seconds that an answer to a preflight request holds unless it is said."""


def answerable(told: Spec) -> bool:
    """Whether browsers would take the answer: with credentials, `*` among headers is a header of that name."""
    return not (told.get("allowCredentials") and "*" in (told.get("allowHeaders") or ()))


def cors_policy(told: Spec) -> dict[str, Any]:
    """A `corsPolicy` of a VirtualService. Preflight requests of other origins are answered with nothing allowed."""
    methods = told.get("allowMethods") or ()
    return {
        "allowOrigins": [_origin(one) for one in told.get("allowOrigins") or ()],
        "allowMethods": list(_METHODS if "*" in methods else methods),
        "allowHeaders": list(told.get("allowHeaders") or ()),
        "exposeHeaders": list(told.get("exposeHeaders") or ()),
        "maxAge": f"{told.get('maxAge') or _DEFAULT_AGE}s",
        "allowCredentials": bool(told.get("allowCredentials")),
        "unmatchedPreflights": "IGNORE",
    }


def _origin(told: str) -> dict[str, str]:
    """`*` for all; `https://*.shop.example` for every name below that one."""
    if told == "*" or "*" not in told:
        return {"exact": told}
    return {"regex": "[^/:]+".join(re.escape(part) for part in told.split("*"))}
