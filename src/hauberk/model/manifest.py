"""Manifests: YAML or JSON text with any number of documents → objects that know where they were written."""

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from hauberk.model import kinds
from hauberk.model.acceptance import accept
from hauberk.model.analysis.finding import Finding, Place
from hauberk.model.kind import Kind, Object

MOST_BYTES = 8 * 1024 * 1024
"""The largest text of one file."""
MOST_NODES = 250_000
"""The most values in one file, each use of an alias counted: a few lines of nested aliases make millions."""
DEEPEST = 100

Lookup = Callable[[str, str], Kind | None]

_INTEGER = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_KEY_IN_BRACKETS = re.compile(r"\[([A-Za-z][A-Za-z0-9_]*)\]")
_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))
_COLLECTIONS = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_TEXT = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp", "value"))


@dataclass(frozen=True, slots=True)
class Located:
    """An object and where each of its fields was written."""

    kind: Kind
    object: Object
    file: str = ""
    document: int = 0
    """Number of the document in the file, from 0."""
    places: Mapping[str, Place] | None = None

    @property
    def name(self) -> str:
        """The object's name."""
        return self._metadata("name")

    @property
    def namespace(self) -> str:
        """The object's namespace, `default` if none is written; empty for kinds that have none."""
        if not self.kind.namespaced:
            return ""
        return self._metadata("namespace") or "default"

    def _metadata(self, name: str) -> str:
        # Objects that the schema refuses have a name too, as far as can be told.
        metadata = self.object.get("metadata")
        return str(metadata.get(name) or "") if isinstance(metadata, dict) else ""

    def place(self, path: str) -> Place:
        """Where the field at `path` stands, or the nearest field around it that was written."""
        if self.places is None:
            return Place(self.file)
        path = _KEY_IN_BRACKETS.sub(r".\1", path)
        while path and path not in self.places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.places.get(path, Place(self.file))


class ManifestError(Exception):
    """A manifest cannot be used; `findings` are all that is wrong with it."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(finding.render() for finding in findings))
        self.findings = findings


class _RefusedError(Exception):
    """One document cannot be read."""

    def __init__(self, code: str, message: str, mark: yaml.Mark | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.mark = mark


def parse_manifest(text: str, file: str, lookup: Lookup = kinds.by_gvk) -> list[Located]:
    """The objects in `text`, which is what `file` holds, each checked by the schema and the rules of its kind.

    `lookup` finds kinds by `apiVersion` and `kind`: give one that knows the custom ones too.

    Raises:
        ManifestError: with everything that is wrong in the whole text.
    """
    located, findings = read_manifest(text, file, lookup)
    if findings:
        raise ManifestError(findings)
    return located


def read_manifest(text: str, file: str, lookup: Lookup = kinds.by_gvk) -> tuple[list[Located], list[Finding]]:
    """The objects in `text` that are right, and what is wrong with the others."""
    reading = _Reading(file, lookup)
    try:
        for document, node in enumerate(_documents(text)):
            reading.document(node, document)
    except _RefusedError as refusal:
        reading.findings.append(_refused(refusal, file))
    return reading.located, reading.findings


def _documents(text: str) -> Iterator[yaml.Node]:
    size = len(text.encode(errors="surrogatepass"))
    if size > MOST_BYTES:
        raise _RefusedError(
            "HBK0006", f"expected at most {MOST_BYTES} bytes, found {size}: split the file", None
        )
    try:
        loader = yaml.CSafeLoader(text)
    except UnicodeError as error:
        raise _RefusedError("HBK0001", f"expected Unicode text: {error}", None) from None
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield node
    except yaml.MarkedYAMLError as error:
        raise _RefusedError("HBK0001", str(error.problem or error.context), error.problem_mark) from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise _RefusedError("HBK0001", str(error).splitlines()[0], None) from None
    except RecursionError:
        raise _RefusedError("HBK0006", f"expected at most {DEEPEST} levels of nesting", None) from None
    finally:
        loader.dispose()


@dataclass(slots=True)
class _Reading:
    """What was found in a file so far."""

    file: str
    lookup: Lookup
    located: list[Located] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def document(self, node: yaml.Node, document: int) -> None:
        places: dict[str, Place] = {}
        try:
            value = _Construction(self.file, places).value(node, "", 0)
        except _RefusedError as refusal:
            self.findings.append(_refused(refusal, self.file))
            return
        if value is None:
            return
        if isinstance(value, dict) and value.get("kind") == "List" and isinstance(value.get("items"), list):
            for index, item in enumerate(value["items"]):
                self.object(item, document, _below(places, f"items[{index}]"))
        else:
            self.object(value, document, places)

    def object(self, value: Any, document: int, places: dict[str, Place]) -> None:
        top = places.get("", Place(self.file))
        if not isinstance(value, dict):
            self.findings.append(
                Finding("HBK0007", top, "expected an object with apiVersion, kind and metadata")
            )
            return
        api_version, name = value.get("apiVersion"), value.get("kind")
        if not isinstance(api_version, str) or not isinstance(name, str):
            self.findings.append(Finding("HBK0007", top, "expected apiVersion and kind, both texts"))
            return
        kind = self.lookup(api_version, name)
        if kind is None:
            message = f"there is no kind {name} in {api_version}{_other_versions(name)}"
            self.findings.append(Finding("HBK0003", places.get("kind", top), message))
            return
        found = Located(kind, value, self.file, document, places)
        errors = accept(kind, copy.deepcopy(value))
        for error in errors:
            subject = f"{kind.name} {found.name}".strip()
            self.findings.append(
                Finding(
                    "HBK0004", found.place(error.field), error.message, subject=subject, field=error.field
                )
            )
        if not errors:
            self.located.append(found)


def _below(places: Mapping[str, Place], top: str) -> dict[str, Place]:
    return {
        path.removeprefix(top).removeprefix("."): place
        for path, place in places.items()
        if path == top or path.startswith((f"{top}.", f"{top}["))
    }


def _other_versions(name: str) -> str:
    versions = [kind.api_version for kind in kinds.ALL if kind.name == name]
    return f"; it is served as {', '.join(versions)}" if versions else ": it is not one of those served here"


def _refused(refusal: _RefusedError, file: str) -> Finding:
    mark = refusal.mark
    place = Place(file) if mark is None else Place(file, mark.line + 1, mark.column + 1)
    return Finding(refusal.code, place, refusal.message)


@dataclass(slots=True)
class _Construction:
    """Makes plain values of a document's nodes and writes down where each stands."""

    file: str
    places: dict[str, Place]
    nodes: int = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise _RefusedError(
                "HBK0006", f"expected at most {MOST_NODES} values, aliases counted", node.start_mark
            )
        if depth > DEEPEST:
            raise _RefusedError("HBK0006", f"expected at most {DEEPEST} levels of nesting", node.start_mark)
        self.places[path] = Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            raise _RefusedError("HBK0001", f"the tag {node.tag} is not allowed: remove it", node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(node.value)]
        return _scalar(node)

    def mapping(self, node: yaml.MappingNode, path: str, depth: int) -> Object:
        written: Object = {}
        merged: Object = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                for source in self.sources(value_node, path, depth):
                    merged = {**source, **merged}
                continue
            key = _scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise _RefusedError(
                    "HBK0001", "expected a text as key: put it in quotes", key_node.start_mark
                )
            if key in written:
                raise _RefusedError(
                    "HBK0002", f'the key "{key}" is here twice: remove one', key_node.start_mark
                )
            below = self.below(path, key)
            written[key] = self.value(value_node, below, depth + 1)
            # A field is found where its name is written.
            self.places[below] = Place(
                self.file, key_node.start_mark.line + 1, key_node.start_mark.column + 1
            )
        return {**merged, **written}

    def sources(self, node: yaml.Node, path: str, depth: int) -> list[Object]:
        """What `<<` takes its keys from: a mapping, or a list of them."""
        value = self.value(node, path, depth + 1)
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise _RefusedError("HBK0001", "expected << to name a mapping", node.start_mark)
        return sources

    @staticmethod
    def below(path: str, key: str) -> str:
        # Errors have keys that users choose in brackets (`labels[app]`); `Located.place` evens that out.
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key):
            return f"{path}.{key}" if path else key
        return f"{path}[{key}]"


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    if node.tag in _TEXT:
        return text
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL:
        return text.lower() in {"true", "yes", "on"}
    if node.tag == _INT:
        # YAML 1.1 reads 1:30 as 90; the parsers of Kubernetes do not.
        return _integer(text, node) if _INTEGER.fullmatch(text) else text
    if node.tag == _FLOAT:
        return _float(text, node)
    raise _RefusedError("HBK0001", f"the tag {node.tag} is not allowed: remove it", node.start_mark)


def _integer(text: str, node: yaml.Node) -> int:
    digits = text.replace("_", "")
    if len(digits) > 40:
        raise _RefusedError(
            "HBK0001", "the number is too long: put it in quotes if it is a text", node.start_mark
        )
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
    try:
        return int(f"{octal.group(1)}0o{octal.group(2)}" if octal else digits, 0)
    except ValueError:
        raise _RefusedError("HBK0001", f'"{text}" is no number: put it in quotes', node.start_mark) from None


def _float(text: str, node: yaml.Node) -> float | str:
    if ":" in text:
        return text
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        raise _RefusedError("HBK0001", f'"{text}" is no number that JSON has', node.start_mark) from None
    if not math.isfinite(value):
        raise _RefusedError("HBK0001", f'"{text}" is no number that JSON has', node.start_mark)
    return value
