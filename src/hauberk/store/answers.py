"""Answers in the form that was asked for: an object, a list or an event, as JSON, YAML, a table or metadata alone."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import yaml
from aiohttp import web

from hauberk.model.kind import Kind, Object
from hauberk.store.bodies import Form
from hauberk.store.call import Call
from hauberk.store.objects import Page
from hauberk.store.scale import SCALE_COLUMNS
from hauberk.store.storage import Stored
from hauberk.store.tables import partial_metadata, table, table_of
from hauberk.store.watching import encode_event

METADATA_ALONE = ("PartialObjectMetadata", "PartialObjectMetadataList")


def json_answer(obj: Any, *, code: int = 200, content_type: str = "application/json") -> web.Response:
    """Anything as JSON."""
    return web.Response(body=msgspec.json.encode(obj), status=code, headers={"Content-Type": content_type})


def object_answer(call: Call, kind: Kind, stored: Stored, *, code: int = 200) -> web.Response:
    """One object."""
    obj = stored.in_version(kind.api_version)
    if call.form.as_kind == "Table":
        shown = table(kind, [obj], now=datetime.now(UTC), version=call.form.version, include=_included(call))
        shown["metadata"] = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return json_answer(shown, code=code)
    if call.form.as_kind == "PartialObjectMetadata":
        return json_answer(partial_metadata(obj, call.form.version), code=code)
    return _plain(obj, call.form, code=code)


def scale_answer(call: Call, scale: Object) -> web.Response:
    """A Scale, which belongs to no kind of its own."""
    if call.form.as_kind == "Table":
        return json_answer(table_of(SCALE_COLUMNS, [scale], now=datetime.now(UTC), version=call.form.version))
    return _plain(scale, call.form)


def list_answer(call: Call, kind: Kind, page: Page) -> web.Response:
    """A page of a list."""
    metadata: Object = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        metadata |= {"continue": page.continue_token, "remainingItemCount": page.remaining}
    version, now = call.form.version, datetime.now(UTC)
    if call.form.as_kind == "Table":
        rows = [stored.in_version(kind.api_version) for stored in page.items]
        shown = table(kind, rows, now=now, version=version, include=_included(call))
        return json_answer({**shown, "metadata": metadata})
    if call.form.as_kind in METADATA_ALONE:
        items = [partial_metadata(stored.object, version) for stored in page.items]
        named = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{version}"}
        return json_answer({**named, "metadata": metadata, "items": items})
    head: Object = {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": metadata}
    if call.form.yaml:
        items = [stored.in_version(kind.api_version) for stored in page.items]
        return _plain({**head, "items": items}, call.form)
    # The objects' own JSON is there already.
    encoded = b",".join(stored.encoded(kind.api_version) for stored in page.items)
    body = msgspec.json.encode(head)[:-1] + b',"items":[' + encoded + b"]}"
    return web.Response(body=body, content_type="application/json")


def event_encoder(call: Call, kind: Kind) -> Callable[[Any, Stored], bytes]:
    """Makes events of a watch, in the form that was asked for."""
    form = call.form
    if form.as_kind not in {"Table", *METADATA_ALONE}:
        return lambda type_, stored: encode_event(kind, type_, stored)
    include = _included(call)

    def encode(type_: str, stored: Stored) -> bytes:
        obj = stored.in_version(kind.api_version)
        if form.as_kind == "Table":
            shown = table(kind, [obj], now=datetime.now(UTC), version=form.version, include=include)
            shown["metadata"] = {"resourceVersion": str(stored.revision)}
        else:
            shown = partial_metadata(obj, form.version)
        return msgspec.json.encode({"type": type_, "object": shown}) + b"\n"

    return encode


def _included(call: Call) -> str:
    return call.query.get("includeObject", "Metadata")


def _plain(obj: Object, form: Form, *, code: int = 200) -> web.Response:
    if form.yaml:
        text = yaml.safe_dump(obj, sort_keys=False)
        return web.Response(text=text, status=code, content_type="application/yaml")
    return json_answer(obj, code=code)
