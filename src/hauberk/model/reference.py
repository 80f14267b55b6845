"""The reference of objects and analysis codes, made from the schemas: `python -m hauberk.model.reference`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hauberk.model import kinds
from hauberk.model.analysis.catalogue import CATALOGUE
from hauberk.model.kind import Kind

_DEEPEST = 4
"""Fields further in are shown by `kubectl explain`."""


def objects() -> str:
    """The reference of objects, in Markdown."""
    stored = [kind for kind in kinds.ALL if not kind.storage_version]
    lines = [
        "# Objects",
        "",
        "Every kind that the API serves. Fields in bold are required; `kubectl explain KIND.FIELD --recursive` shows",
        "the deeper ones.",
        "",
        "| kind | API version | also served as | short | scope |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(kind) for kind in stored]
    for kind in stored:
        lines += ["", *_section(kind)]
    return "\n".join(lines) + "\n"


def _row(kind: Kind) -> str:
    others = [other.version for other in kinds.ALL if other.storage_version and _same(other, kind)]
    anchor = f"{kind.name.lower()}-{kind.group}".rstrip("-").replace(".", "")
    scope = "namespaced" if kind.namespaced else "cluster"
    short = ", ".join(kind.short_names)
    return f"| [{kind.name}](#{anchor}) | {kind.api_version} | {', '.join(others)} | {short} | {scope} |"


def _same(other: Kind, kind: Kind) -> bool:
    return (other.group, other.name) == (kind.group, kind.name)


def _section(kind: Kind) -> Iterator[str]:
    yield f"## {kind.name} {kind.group}".rstrip()
    yield ""
    yield str(kind.schema.get("description", ""))
    if kind.subresources:
        yield ""
        yield f"Subresources: {', '.join(sorted(kind.subresources))}."
    if kind.selectable_fields:
        yield ""
        yield f"Field selectors: {', '.join(f'`{name}`' for name in kind.selectable_fields)}."
    yield ""
    for name in ("spec", *(item for item in kind.schema["properties"] if item not in _COMMON)):
        if name in kind.schema["properties"]:
            yield from _field(
                name, kind.schema["properties"][name], name in kind.schema.get("required", ()), 0
            )


_COMMON = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})


def _field(name: str, schema: dict[str, Any], required: bool, depth: int) -> Iterator[str]:
    bold = f"**{name}**" if required else name
    description = f": {schema['description']}" if schema.get("description") else ""
    yield f"{'  ' * depth}- {bold} `{_type(schema)}`{description}"
    inner = schema["items"] if schema.get("type") == "array" else schema
    if depth >= _DEEPEST or (name == "template" and depth > 0):
        return
    for below, item in inner.get("properties", {}).items():
        yield from _field(below, item, below in inner.get("required", ()), depth + 1)


def _type(schema: dict[str, Any]) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity" if schema.get("format") == "quantity" else "number or text"
    if "enum" in schema:
        return " ".join(str(value) or '""' for value in schema["enum"])
    if schema.get("type") == "array":
        return f"[]{_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def codes() -> str:
    """The reference of codes, in Markdown."""
    lines = [
        "# Codes of `hauberk analyze`",
        "",
        "A code never changes its meaning. `hauberk analyze` ends with exit code 2 if there are errors, with 1 if",
        "there are warnings and `--strict` was given, else with 0.",
        "",
        "| code | severity | what | what it means | what to do |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {entry.code} | {entry.severity} | {entry.title} | {entry.explanation} | {entry.remedy} |"
        for entry in CATALOGUE.values()
    ]
    return "\n".join(lines) + "\n"


PAGES = {"objects.md": objects, "codes.md": codes}


def main(arguments: list[str]) -> int:
    """Writes the pages into the folder that is given, `docs/reference` if none is."""
    folder = Path(arguments[0] if arguments else "docs/reference")
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
