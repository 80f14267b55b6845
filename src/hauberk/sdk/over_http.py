"""An authorizer over HTTP/1.1: status 200 lets a request pass, any other below 500 refuses it.

Only what a proxy of the mesh sends is understood: a request line, headers, and a body with `content-length`.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus

from hauberk.sdk.decision import Allow, Decide, Decision, Request

MOST_HEAD = 128 * 1024
MOST_BODY = 8 << 20
REMOVE = "x-envoy-auth-headers-to-remove"
_log = logging.getLogger(__name__)


class MalformedRequestError(ValueError):
    """What came is no request that a proxy sends; the message says what was expected."""


class HttpAuthorizer:
    """Serves connections of `asyncio.start_server`. Whatever `decide` raises ends the connection without an answer: the
    provider's `failOpen` says what follows."""

    def __init__(self, decide: Decide, path_prefix: str = "") -> None:
        self._decide = decide
        self._prefix = path_prefix

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str((writer.get_extra_info("peername") or ("",))[0])
        try:
            while (asked := await self._request(reader, address)) is not None:
                writer.write(response(await self._decide(asked)))
                await writer.drain()
        except MalformedRequestError as error:
            _log.warning("authorizer: %s", error)
            writer.write(_response(400, "", {"connection": "close"}))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, address: str) -> Request | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        except asyncio.LimitOverrunError as error:
            raise MalformedRequestError(f"expected at most {MOST_HEAD} bytes of headers") from error
        method, path, headers = parse_head(head)
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not (length.isascii() and length.isdecimal()):
            raise MalformedRequestError("expected a body with content-length")
        if int(length) > MOST_BODY:
            raise MalformedRequestError(f"expected a body of at most {MOST_BODY} bytes, found {length}")
        return Request(
            method=method,
            path=path.removeprefix(self._prefix),
            host=headers.get("host", ""),
            headers=headers,
            body=await reader.readexactly(int(length)),
            source_address=address,
        )


def parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, target and headers; several of one name are joined by commas.

    Raises:
        MalformedRequestError: it is no head of HTTP/1.1.
    """
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise MalformedRequestError(f"expected a request line, found {first[:80]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
            raise MalformedRequestError(f"expected a header, found {line[:80]!r}")
        name, value = name.lower(), value.strip()
        if name in headers and name in ("content-length", "host"):
            raise MalformedRequestError(f"expected one {name}, found two")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return words[0], words[1], headers


def response(decision: Decision) -> bytes:
    """A decision as an HTTP response. Which headers the program and the caller get of it the provider says."""
    if isinstance(decision, Allow):
        headers = {**decision.headers, **decision.response_headers}
        if decision.remove_headers:
            headers[REMOVE] = ",".join(decision.remove_headers)
        return _response(200, "", headers)
    return _response(decision.status, decision.body, dict(decision.headers))


def _response(status: int, text: str, headers: dict[str, str]) -> bytes:
    body = text.encode()
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
