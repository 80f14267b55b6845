"""Bodies of requests and forms of answers: JSON and YAML in, JSON, tables or metadata out. Pure."""

from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from hauberk.store import protobuf_bodies, status

JSON = "application/json"
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")


def parse_body(content_type: str, body: bytes) -> Any:
    """Raises `ApiError` 400 or 415."""
    media = content_type.partition(";")[0].strip().lower()
    if media == protobuf_bodies.MEDIA_TYPE:
        return protobuf_bodies.decode_body(body)
    try:
        if media in YAML_TYPES or media == "application/apply-patch+yaml":
            return _plain(yaml.safe_load(body))
        if media in {"", JSON} or media.endswith("+json"):
            return msgspec.json.decode(body)
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise status.bad_request(f"the object provided is unrecognized: {error}") from error
    raise status.unsupported_media_type()


def parse_object(content_type: str, body: bytes) -> dict[str, Any]:
    """The body as an object. Raises `ApiError` 400 or 415."""
    parsed = parse_body(content_type, body)
    if not isinstance(parsed, dict):
        raise status.bad_request(f"expected an object, found {type(parsed).__name__}")
    return parsed


def _plain(value: Any) -> Any:
    """YAML's dates back to the text that JSON has for them."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an answer: `as_kind` is empty, `Table`, `PartialObjectMetadata(List)` or `APIGroupDiscoveryList`."""

    as_kind: str = ""
    version: str = ""
    yaml: bool = False


def accepted_form(accept: str) -> Form:
    """The first form of an Accept header that is served. Raises `ApiError` 406."""
    if not accept.strip():
        return Form()
    for entry in accept.split(","):
        media, *parameters = [part.strip() for part in entry.split(";")]
        named = dict(part.partition("=")[::2] for part in parameters)
        if media in {JSON, "*/*", "application/*"}:
            kind, group, version = named.get("as", ""), named.get("g", ""), named.get("v", "")
            if not kind:
                return Form()
            if group == "meta.k8s.io" and version in {"v1", "v1beta1"}:
                return Form(kind, version)
            if group == "apidiscovery.k8s.io" and version in {"v2", "v2beta1"}:
                return Form(kind, version)
        elif media in YAML_TYPES:
            return Form(yaml=True)
    raise status.not_acceptable("application/json, application/yaml")
