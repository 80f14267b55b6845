"""A gRPC server to be proxied: `python -m tests.bench.grpc_server HOST PORT`.

It answers `/bench.Echo/Call` with the request's bytes, and writes `ready` when it listens.
"""

import asyncio
import sys

import grpc

SERVICE, METHOD = "bench.Echo", "Call"


async def echo(request: bytes, _context: object) -> bytes:
    return request


async def main(host: str, port: int) -> None:
    server = grpc.aio.server()
    handlers = {METHOD: grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
