"""The control plane of a simulated mesh, over real gRPC: `python -m tests.bench.control_plane.process SOCKET SERVICES`.

One line `change` or `usage` on standard input, one answer on standard output.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import grpc
from tests.bench.control_plane.objects import objects, replaced
from tests.bench.process import resident_bytes

from hauberk.mesh.ads import Discovery
from hauberk.mesh.proxy import proxy_from_metadata
from hauberk.mesh.registry import Registry


async def serve(path: str, services: int) -> None:
    """The control plane's process: one line `change` on standard input, one answer on standard output."""
    began = time.process_time()
    registry = Registry().update(objects(services))
    discovery = Discovery(registry, lambda _context, node: proxy_from_metadata(node))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((discovery.handler(),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    tell(ready=True, cpu=time.process_time() - began)
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    changes = 0
    while line := (await lines.get()).strip():
        if line == "change":
            changes += 1
            registry = registry.update([replaced(changes)])
            began = time.monotonic()
            discovery.publish(registry)
            tell(began=began)
        else:
            tell(**usage())
    await server.stop(grace=None)


def usage() -> dict[str, float]:
    """CPU seconds and resident bytes of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    rss = resident_bytes(Path("/proc/self/status").read_text())
    return {"cpu": used.ru_utime + used.ru_stime, "rss": rss}


def tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
