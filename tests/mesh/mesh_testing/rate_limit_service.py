"""A rate limit service for tests (`envoy.service.ratelimit.v3`): so many hits in each window of a descriptor."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from envoy.service.ratelimit.v3 import rls_pb2

from mesh_testing.backends import free_port
from mesh_testing.objects import endpoint_slice, pod, service

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
Descriptor = tuple[tuple[str, str], ...]


class RateLimitService:
    """`limit` hits in each `window` of seconds, for each descriptor apart."""

    def __init__(self, limit: int, window: int = 3600) -> None:
        self.address, self.port = "127.0.0.7", free_port()
        self.limit, self.window = limit, window
        self.hits: dict[tuple[str, Descriptor], int] = {}
        """Of the present window."""
        self.asked: list[tuple[str, list[Descriptor], int]] = []
        self.delay = 0.0
        self.failing = False
        self._began = time.monotonic()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RateLimitService"]:
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            self._should_rate_limit,
            request_deserializer=rls_pb2.RateLimitRequest.FromString,
            response_serializer=rls_pb2.RateLimitResponse.SerializeToString,
        )
        handlers = {"ShouldRateLimit": handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_insecure_port(f"{self.address}:{self.port}")
        await server.start()
        try:
            yield self
        finally:
            await server.stop(grace=0)

    async def _should_rate_limit(
        self, request: rls_pb2.RateLimitRequest, context: Any
    ) -> rls_pb2.RateLimitResponse:
        await asyncio.sleep(self.delay)
        if self.failing:
            await context.abort(grpc.StatusCode.INTERNAL, "out of order")
        now = time.monotonic()
        if now - self._began >= self.window:
            self._began, self.hits = now, {}
        found = [tuple((one.key, one.value) for one in each.entries) for each in request.descriptors]
        hits = max(1, request.hits_addend)
        self.asked.append((request.domain, found, hits))
        response = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OK)
        for descriptor in found:
            key = (request.domain, descriptor)
            self.hits[key] = self.hits.get(key, 0) + hits
            over = self.hits[key] > self.limit
            status = response.statuses.add(
                code="OVER_LIMIT" if over else "OK",
                current_limit={"requests_per_unit": self.limit, "unit": "HOUR"},
                limit_remaining=max(0, self.limit - self.hits[key]),
            )
            status.duration_until_reset.FromMilliseconds(int((self.window - (now - self._began)) * 1000))
            if over:
                response.overall_code = rls_pb2.RateLimitResponse.OVER_LIMIT
        return response

    def facts(self) -> list[dict[str, Any]]:
        """A service for it, `limits.default` at port 8081."""
        return [
            service("limits", address="10.96.0.51", grpc=8081),
            endpoint_slice("limits", [self.address], grpc=self.port),
            pod("limits-1", self.address, host_network=True, app="limits"),
        ]
