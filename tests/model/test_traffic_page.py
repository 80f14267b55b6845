"""docs/traffic.md names every field of Istio's traffic objects, once and with a verdict."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

from hauberk.model.istio.destination import DestinationRuleSpec
from hauberk.model.istio.gateway import GatewaySpec
from hauberk.model.istio.service_entry import ServiceEntrySpec
from hauberk.model.istio.sidecar import SidecarSpec
from hauberk.model.istio.telemetry import TelemetrySpec
from hauberk.model.istio.virtual_service import VirtualServiceSpec

PAGE = Path(__file__).parents[2] / "docs" / "traffic.md"
SPECS = (
    VirtualServiceSpec,
    DestinationRuleSpec,
    GatewaySpec,
    SidecarSpec,
    ServiceEntrySpec,
    TelemetrySpec,
)
ROW = re.compile(r"\| `([^`]+)` \| (yes|partly|no) \|(.*)\|")


def parts(type_: Any) -> Iterator[type[msgspec.Struct]]:
    """Every struct within a type, itself included."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        yield type_
        for field in msgspec.structs.fields(type_):
            yield from parts(field.type)
    else:
        for inner in get_args(type_):
            yield from parts(inner)


def stated() -> Iterator[tuple[str, list[str]]]:
    """Sections of the page with the fields that they have."""
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        rows = [line for line in body.splitlines() if line.startswith("| `")]
        found = [ROW.fullmatch(row) for row in rows]
        assert all(found), f"{title}: expected rows `| field | yes, partly or no | how |`, found {rows}"
        for match in found:
            assert match is not None
            assert match[2] == "yes" or match[2] == "no" or match[3].strip(), f"{title}.{match[1]}: say what"
        yield title, [match[1] for match in found if match]


def test_every_field_is_on_the_page() -> None:
    models = {
        part.__name__: sorted(field.encode_name for field in msgspec.structs.fields(part))
        for spec in SPECS
        for part in parts(spec)
    }
    page = [(title, sorted(fields)) for title, fields in stated()]
    assert len({title for title, _ in page}) == len(page), "a section stands twice"
    assert dict(page) == models
