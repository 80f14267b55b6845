"""Envoy's Secret Discovery Service for one workload, in both variants and as a single call."""

import asyncio
from typing import Any

import grpc
from envoy.service.secret.v3 import sds_pb2_grpc

from hauberk.identity.secret_subscription import (
    DeltaSubscription,
    Subscription,
    TooManyNamesError,
    WorldSubscription,
    world_response,
)
from hauberk.identity.svid import SvidSource


class SecretDiscovery(sds_pb2_grpc.SecretDiscoveryServiceServicer):  # type: ignore[misc]
    """Pushes the secrets that a stream subscribes to, and again whenever they change."""

    def __init__(self, source: SvidSource) -> None:
        self._source = source

    async def FetchSecrets(self, request: Any, context: Any) -> Any:  # noqa: N802
        identity = self._source.current
        if identity is None:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, self._source.failure or "no SVID has been issued yet"
            )
            raise AssertionError("abort always raises")
        return world_response(identity, request.resource_names, nonce="")

    async def StreamSecrets(self, requests: Any, context: Any) -> None:  # noqa: N802
        await _serve(WorldSubscription(), requests, context, self._source)

    async def DeltaSecrets(self, requests: Any, context: Any) -> None:  # noqa: N802
        await _serve(DeltaSubscription(), requests, context, self._source)


async def _serve(subscription: Subscription, requests: Any, context: Any, source: SvidSource) -> None:
    """Answers requests and changes of the identity as they come, until the requests end."""
    changed = asyncio.Event()

    async def follow() -> None:
        async for _ in source.changes():
            changed.set()

    async def write() -> None:
        while True:
            await changed.wait()
            changed.clear()
            identity = source.current
            if identity is not None and (response := subscription.response(identity)) is not None:
                await context.write(response)

    refusal = ""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follow()), group.create_task(write())]
        try:
            async for request in requests:
                subscription.receive(request)
                changed.set()
        except TooManyNamesError as error:
            refusal = str(error)
        for task in tasks:
            task.cancel()
    if refusal:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)
