"""A gRPC server to be proxied: `python -m tests.bench.grpc_server PORT` answers `/bench.Echo/Call` with its bytes."""

import asyncio
import sys

import grpc

SERVICE, METHOD = "bench.Echo", "Call"


async def echo(request: bytes, _context: object) -> bytes:
    return request


async def main(port: int) -> None:
    server = grpc.aio.server()
    handlers = {METHOD: grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
