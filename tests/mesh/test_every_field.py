"""Every field that docs/traffic.md says is carried out is taken by a real Envoy that we control, and by our proxy."""

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest
import yaml
from mesh_testing.control_plane import control_plane
from mesh_testing.objects import configuration, endpoint_slice, pod, service
from mesh_testing.running import StartProxy
from test_gateway_tls import Issuer, tls_secret

from hauberk.mesh.proxy import Proxy, ProxyKind
from hauberk.mesh.registry import Labels, Registry
from hauberk.mesh.soundness import only_sound
from hauberk.model import kinds
from hauberk.model.acceptance import accept
from hauberk.model.istio.destination import DestinationRule
from hauberk.model.istio.gateway import Gateway
from hauberk.model.istio.service_entry import ServiceEntry
from hauberk.model.istio.sidecar import Sidecar
from hauberk.model.istio.telemetry import Telemetry
from hauberk.model.istio.virtual_service import VirtualService

OBJECTS = [one for one in yaml.safe_load_all(Path(__file__).with_name("every_field.yaml").read_text()) if one]
PAGE = Path(__file__).parents[2] / "docs" / "traffic.md"
ROW = re.compile(r"\| `([^`]+)` \| (yes|partly) \|")

MODELS: dict[str, type[msgspec.Struct]] = {
    model.__name__: model
    for model in (DestinationRule, Gateway, ServiceEntry, Sidecar, Telemetry, VirtualService)
}

ELSEWHERE = {
    "PolicyTargetReference": "of policies, which name Gateways of the Gateway API by it",
    "WorkloadSelector": "of policies; Telemetry's selector is the same",
}
"""Sections of the page whose fields the objects here do not set."""


def carried_out() -> set[tuple[str, str]]:
    """Section and field of all that the page says is done."""
    found = set()
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        found |= {(title, row[1]) for line in body.splitlines() if (row := ROW.match(line))}
    return {one for one in found if one[0] not in ELSEWHERE}


def set_fields(type_: Any, value: Any) -> Iterator[tuple[str, str]]:
    """Struct and field of all that a value of the API sets."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        for field in msgspec.structs.fields(type_):
            if isinstance(value, Mapping) and field.encode_name in value:
                yield type_.__name__, field.encode_name
                yield from set_fields(field.type, value[field.encode_name])
    elif get_origin(type_) is tuple and isinstance(value, list):
        for one in value:
            yield from set_fields(get_args(type_)[0], one)
    elif get_origin(type_) is dict and isinstance(value, Mapping):
        for one in value.values():
            yield from set_fields(get_args(type_)[1], one)
    else:
        for inner in get_args(type_):
            yield from set_fields(inner, value)


def test_the_api_takes_the_objects() -> None:
    for one in OBJECTS:
        kind = kinds.find(one["kind"], one["apiVersion"].partition("/")[0])
        assert kind is not None
        assert accept(kind, copy.deepcopy(one)) == [], one["metadata"]["name"]


def test_the_objects_set_every_field_that_is_carried_out() -> None:
    found: set[tuple[str, str]] = set()
    for one in OBJECTS:
        found |= set(set_fields(MODELS[one["kind"]], one))
    assert sorted(carried_out() - found) == []


@pytest.mark.root
@pytest.mark.parametrize("kind", [ProxyKind.SIDECAR, ProxyKind.ROUTER], ids=["sidecar", "gateway"])
async def test_all_of_them_are_taken(
    start_proxy: StartProxy, tmp_path: Path, network_namespace: str, kind: ProxyKind
) -> None:
    registry = Registry().update(
        [
            service("web", address="10.96.0.1", http=80),
            service("sealed", address="10.96.0.2", tls=443),
            service("raw", address="10.96.0.3", tcp=7000),
            service("proven", address="10.96.0.5", tcp=7001),
            service("spans", address="10.96.0.4", grpc=4317),
            *(
                pod(f"web-{version}", f"10.66.0.{11 + index}", app="web", version=version)
                for index, version in enumerate(("v1", "v2", "v3"))
            ),
            endpoint_slice("web", ["10.66.0.11", "10.66.0.12", "10.66.0.13"], http=80),
            endpoint_slice("raw", ["10.66.0.14"], tcp=7000),
            endpoint_slice("proven", ["10.66.0.16"], tcp=7001),
            endpoint_slice("sealed", ["10.66.0.15"], tls=443),
            pod("caller-1", "10.66.0.7", app="caller"),
            tls_secret("web", Issuer().pair("web.example")),
            configuration(
                "MeshConfig",
                "default",
                {
                    "extensionProviders": [
                        {
                            "name": "spans",
                            "opentelemetry": {"service": "spans.default.svc.cluster.local", "port": 4317},
                        }
                    ]
                },
            ),
            *OBJECTS,
        ]
    )
    assert only_sound(registry, None).refused == ()
    labels = {"istio": "ingressgateway"} if kind is ProxyKind.ROUTER else {"app": "caller"}
    proxy = Proxy(kind, "default", "caller-1", "10.66.0.7", Labels.of(labels), "default")
    async with (
        control_plane(registry, tmp_path) as plane,
        start_proxy(proxy, plane.path, tmp_path, namespace=network_namespace) as running,
    ):
        status = await running.synced(plane.discovery)
        assert [(one.type, one.reason) for one in status.types if one.reason] == [], running.log.read_text()
        dump = await running.admin("/config_dump")
        arrived = ("web.example",) if kind is ProxyKind.ROUTER else ("told.example", "rewritten-by-pattern")
        assert [one for one in arrived if one not in dump] == []
