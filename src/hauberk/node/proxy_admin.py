"""The admin interface of a pod's proxy, which may be captured: it is asked at its own socket, and heard out briefly."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from hauberk.node import proxy_folder

URL = "http://proxy"


@asynccontextmanager
async def session(run: Path, timeout: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientSession]:
    """Requests to `URL` reach the proxy of the pod with this folder.

    Raises:
        OSError: there is no such socket, or it is not the proxy's own.
    """
    with proxy_folder.socket_path(run / "admin.sock") as path:
        async with aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path),
            timeout=timeout,
            # Compressed, a short answer could be a long one.
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        ) as opened:
            yield opened


async def body(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """All that it says. Raises `ValueError` if that is more than `most` bytes."""
    found = bytearray()
    async for chunk in answer.content.iter_any():
        found += chunk
        if len(found) > most:
            raise ValueError(f"expected an answer of at most {most} bytes, found more")
    return bytes(found)
