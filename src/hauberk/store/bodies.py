"""Bodies of requests and forms of answers: JSON and YAML in, JSON, tables or metadata out. Pure."""

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import yaml

from hauberk.model.kind import Object
from hauberk.model.struct import parse
from hauberk.store import protobuf_bodies, status
from hauberk.store.client import ApiError

JSON = "application/json"
T = TypeVar("T", bound=msgspec.Struct)
V = TypeVar("V")
MOST_DEPTH = 200
"""Levels of objects and lists in one another; the deepest schemas of definitions have about 60."""
YAML_BYTES = 1024 * 1024
"""Of a body in YAML, which takes many times longer to read than JSON."""
MOST_VALUES = 500_000
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")


def parse_body(content_type: str, body: bytes) -> Any:
    """Raises `ApiError` 400 or 415."""
    media = content_type.partition(";")[0].strip().lower()
    if media == protobuf_bodies.MEDIA_TYPE:
        return protobuf_bodies.decode_body(body)
    try:
        if media in YAML_TYPES:
            return _decoded_yaml(body)
        if media in {"", JSON} or media.endswith("+json"):
            return not_too_deep(msgspec.json.decode(body))
    except msgspec.DecodeError as error:
        raise status.bad_request(f"the object provided is unrecognized: {error}") from error
    except RecursionError as error:
        raise _too_deep() from error
    raise status.unsupported_media_type()


def parse_object(content_type: str, body: bytes) -> dict[str, Any]:
    """The body as an object. Raises `ApiError` 400 or 415."""
    parsed = parse_body(content_type, body)
    if not isinstance(parsed, dict):
        raise status.bad_request(f"expected an object, found {type(parsed).__name__}")
    return parsed


def parse_as(type_: type[T], body: Object) -> T:
    """A body of a known form; a null is an absent field. Raises `ApiError` 400."""
    try:
        return parse(type_, body)
    except msgspec.ValidationError as error:
        raise status.bad_request(f"the object provided is unrecognized: {error}") from error


def _decoded_yaml(body: bytes) -> Any:
    if len(body) > YAML_BYTES:
        raise status.bad_request(
            f"expected a YAML body of at most {YAML_BYTES} bytes, found {len(body)}; send it as JSON"
        )
    try:
        loaded = yaml.load(body, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        # The text around the place, which PyYAML shows, may be of a Secret.
        mark = error.problem_mark
        place = f" in line {mark.line + 1}" if mark else ""
        raise status.bad_request(
            f"the object provided is unrecognized: YAML: {error.problem}{place}"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise status.bad_request("the object provided is unrecognized: it is not YAML in UTF-8") from error
    return _plain(loaded, [MOST_VALUES])


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Dates stay the text that they are, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":value"))]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _plain(value: Any, left: list[int], depth: int = 0) -> Any:
    """Keys as text; each value counted wherever it stands, since an alias stands for all that it names."""
    left[0] -= 1
    if left[0] < 0:
        raise status.bad_request(f"expected at most {MOST_VALUES} values, found more behind aliases")
    if depth > MOST_DEPTH:
        raise _too_deep()
    if isinstance(value, dict):
        return {str(key): _plain(item, left, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, left, depth + 1) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise status.bad_request(f"expected what JSON has, found {type(value).__name__}")


def not_too_deep(value: V) -> V:
    """`value`; what is done with objects later goes as deep as they are. Raises `ApiError` 400."""
    level: list[Any] = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return value
    raise _too_deep()


def _too_deep() -> ApiError:
    return status.bad_request(
        f"expected an object of at most {MOST_DEPTH} levels, found one that goes deeper"
    )


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
