"""What a container wants done after its start and before its stop (core/v1 LifecycleHandler)."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hauberk.node import probe
from hauberk.node.probe import Execute


async def run(
    handler: Mapping[str, Any],
    container: Mapping[str, Any],
    namespace: Path,
    address: str,
    execute: Execute,
    timeout: float,
) -> str | None:
    """None if the handler did what it should within `timeout` seconds, else what went wrong."""
    if (sleep := handler.get("sleep")) is not None:
        await asyncio.sleep(min(float(sleep["seconds"]), timeout))
        return None
    if "exec" not in handler and "httpGet" not in handler:
        return f"expected exec, httpGet or sleep, found {', '.join(sorted(handler)) or 'nothing'}"
    try:
        return await probe.once(handler, container, namespace, address, execute, timeout)
    except OSError as error:
        return str(error)
