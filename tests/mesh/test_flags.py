"""Response flags of the access log are the same in a real Envoy and in our proxy."""

from pathlib import Path
from typing import Any

from mesh_testing.backends import Front, destination_rule, front, to, virtual_service
from mesh_testing.control_plane import eventually
from mesh_testing.objects import endpoint_slice, service
from mesh_testing.running import StartProxy


def route(path: str, host: str = "", **more: Any) -> dict[str, Any]:
    destination = {"destination": {"host": host}} if host else to("v1")
    return {"match": [{"uri": {"exact": path}}], "route": [destination], **more}


RETRIED = {"attempts": 1, "retryOn": "5xx,connect-failure,reset", "backoff": "1ms"}
ONCE: dict[str, Any] = {"retries": {"attempts": 0}}
DELAY = {"delay": {"fixedDelay": "10ms", "percentage": {"value": 100}}}
SERVICES = ("nobody", "empty")
ABORT = {"abort": {"httpStatus": 555, "percentage": {"value": 100}}}


async def flags(gateway: Front, path: str, **headers: str) -> tuple[int, str]:
    """Status and flags of one request, as logged."""
    await gateway.get(path, **headers)

    def logged() -> list[dict[str, Any]]:
        return [one for one in gateway.running.accesses() if one["path"] == path]

    (entry,) = await eventually(logged)
    return int(entry["response_code"]), entry["response_flags"]


async def test_each_end_has_its_flags(start_proxy: StartProxy, tmp_path: Path) -> None:
    objects = [
        virtual_service(
            route("/good"),
            route("/error", **ONCE),
            route("/errors", retries=RETRIED),
            route("/refused", "nobody", **ONCE),
            route("/refused-twice", "nobody", retries=RETRIED),
            route("/empty", "empty"),
            route("/unknown", "unknown"),
            route("/hung-up", **ONCE),
            route("/hung-up-twice", retries=RETRIED),
            route("/late", timeout="100ms", **ONCE),
            route("/late-twice", retries=RETRIED | {"perTryTimeout": "100ms"}),
            route("/delayed", fault=DELAY),
            route("/aborted", fault=ABORT),
            route("/both", fault=DELAY | ABORT),
        ),
        *(service(name, address=f"10.96.0.{20 + index}", http=80) for index, name in enumerate(SERVICES)),
        endpoint_slice("nobody", ["127.0.0.77"], http=9),
    ]
    async with front(start_proxy, objects, tmp_path) as gateway:
        assert await flags(gateway, "/good") == (200, "-")
        assert await flags(gateway, "/nowhere") == (404, "NR")
        assert await flags(gateway, "/error", answer="503") == (503, "-")
        assert await flags(gateway, "/errors", answer="503") == (503, "URX")
        assert await flags(gateway, "/refused") == (503, "UF")
        assert await flags(gateway, "/refused-twice") == (503, "URX,UF")
        assert await flags(gateway, "/empty") == (503, "UH")
        assert await flags(gateway, "/unknown") == (503, "NC")
        assert await flags(gateway, "/hung-up", hang_up="v1") == (503, "UC")
        assert await flags(gateway, "/hung-up-twice", hang_up="v1") == (503, "URX,UC")
        assert await flags(gateway, "/late", sleep="1") == (504, "UT")
        assert await flags(gateway, "/late-twice", sleep="1") == (504, "URX,UT")
        assert await flags(gateway, "/delayed") == (200, "DI")
        assert await flags(gateway, "/aborted") == (555, "FI")
        assert await flags(gateway, "/both") == (555, "DI,FI")


async def test_the_flag_of_an_open_circuit_breaker(start_proxy: StartProxy, tmp_path: Path) -> None:
    pool = {"http": {"http2MaxRequests": 1}}
    objects = [destination_rule(connectionPool=pool), virtual_service(route("/", **ONCE))]
    async with front(start_proxy, objects, tmp_path) as gateway:
        await gateway.many(3, sleep="0.5")

        def logged() -> bool:
            return len(gateway.running.accesses()) == 3

        await eventually(logged)
        found = sorted((one["response_code"], one["response_flags"]) for one in gateway.running.accesses())
        assert found == [(200, "-"), (503, "UO"), (503, "UO")]
