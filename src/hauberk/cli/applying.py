"""Manifests into the API: read and checked as a whole, tried as a whole, then applied in order."""

import copy
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hauberk.cli.context import wait_for
from hauberk.cli.custom_kinds import defined_kinds
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.cli.last_applied import ANNOTATION, with_deletions
from hauberk.model import kinds
from hauberk.model.analysis.finding import Finding
from hauberk.model.kind import Kind, Object
from hauberk.model.manifest import Located, Lookup, read_manifest
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
SERVED_SECONDS = 10.0
FIRST = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "ConfigMap")
"""Kinds that others need; the rest follows in the order written."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What applying one object did, and the object as the server now has it."""

    located: Located
    what: Literal["created", "configured", "unchanged"]
    object: Object

    @property
    def line(self) -> str:
        """`deployment.apps/web created`."""
        kind = self.located.kind
        group = f".{kind.group}" if kind.group else ""
        return f"{kind.singular}{group}/{self.located.name} {self.what}"


def read_manifests(
    paths: Sequence[Path],
    *,
    without: Iterable[str] = (),
    recursive: bool = False,
    lookup: Lookup = kinds.by_gvk,
) -> list[Located]:
    """The objects in files, in the manifests of folders, or (`-`) on standard input; not those named `without`.

    Raises:
        CommandError: something in them is wrong; everything that is, with file and line.
    """
    texts = read_texts(paths, without=without, recursive=recursive)
    located, findings = _read(texts, lookup)
    definitions = [item.object for item in located if item.kind is kinds.CUSTOM_RESOURCE_DEFINITION]
    if definitions:
        # Objects may be of kinds that the same manifests define.
        defined = defined_kinds(definitions)
        located, findings = _read(
            texts, lambda version, kind: defined.by_gvk(version, kind) or lookup(version, kind)
        )
    if findings:
        raise refused(findings)
    if not located:
        raise CommandError(
            f"expected manifests in {', '.join(map(str, paths))}, found no object",
            "see what is there",
            ExitCode.USAGE,
        )
    return located


def _read(texts: Mapping[str, str], lookup: Lookup) -> tuple[list[Located], list[Finding]]:
    """The objects of all files, and what is wrong with the others."""
    located: list[Located] = []
    findings: list[Finding] = []
    for file, text in texts.items():
        right, wrong = read_manifest(text, file, lookup)
        located += right
        findings += wrong
    return located, findings


def read_texts(
    paths: Sequence[Path], *, without: Iterable[str] = (), recursive: bool = False
) -> dict[str, str]:
    """Text by file name.

    Raises:
        CommandError: a file cannot be read.
    """
    texts: dict[str, str] = {}
    skipped = frozenset(without)
    for path in paths:
        if str(path) == "-":
            texts["<stdin>"] = sys.stdin.read()
            continue
        for file in _files(path, recursive) if path.is_dir() else [path]:
            if file.name in skipped:
                continue
            try:
                texts[str(file)] = file.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise CommandError(
                    f"{file}: expected a manifest in UTF-8: {error}", "", ExitCode.USAGE
                ) from error
    return texts


def _files(folder: Path, recursive: bool) -> list[Path]:
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(path for path in found if path.is_file() and path.suffix in SUFFIXES)


def refused(findings: Sequence[Finding]) -> CommandError:
    """The error that lists all of `findings`."""
    listed = "\n".join(finding.render() for finding in findings)
    count = f"{len(findings)} error{'s' if len(findings) > 1 else ''}"
    return CommandError(
        f"nothing was applied: {count}\n{listed}", "mend them and apply again", ExitCode.USAGE
    )


async def apply_objects(
    client: HttpClient, located: Sequence[Located], *, dry_run: bool = False
) -> list[Outcome]:
    """Create what is absent and patch what differs, as `kubectl apply` does on the client's side.

    Everything is tried first without effect, so that what the server refuses changes nothing.

    Raises:
        CommandError: the server refuses some of it; all of that, with file and line. Nothing was applied.
        ApiError: the server cannot be reached, or refuses now what it took when it was tried.
    """
    ordered = in_order(located)
    coming = {item.name for item in ordered if item.kind is kinds.NAMESPACE}
    defined = {item.name for item in ordered if item.kind is kinds.CUSTOM_RESOURCE_DEFINITION}
    tried: list[Outcome] = []
    findings: list[Finding] = []
    for item in ordered:
        try:
            tried.append(await _apply(client, item, dry_run=True))
        except ApiError as error:
            if error.code == 503:
                raise
            if error.code == 404 and (item.namespace in coming or _definition(item.kind) in defined):
                tried.append(Outcome(item, "created", item.object))
                continue
            findings += _found(item, error)
    if findings:
        raise refused(findings)
    if dry_run:
        return tried
    outcomes = []
    for item in ordered:
        if _definition(item.kind) in defined:
            await _until_served(client, item)
        outcomes.append(await _apply(client, item, dry_run=False))
    return outcomes


def _definition(kind: Kind) -> str:
    """The name of the CustomResourceDefinition that such a kind would have."""
    return f"{kind.plural}.{kind.group}"


async def _until_served(client: HttpClient, item: Located) -> None:
    """A definition that was just applied takes some API servers a moment to serve."""
    group_version = f"/apis/{item.kind.api_version}"

    async def served() -> bool:
        try:
            found = await client.raw("GET", group_version)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return any(each["name"] == item.kind.plural for each in found["resources"])

    await wait_for(
        served,
        seconds=SERVED_SECONDS,
        what=f"expected {_definition(item.kind)} to be served",
        remedy=f"see why it is not: `hauberk get crd {_definition(item.kind)} -o yaml`",
    )


def in_order(located: Sequence[Located]) -> list[Located]:
    """Namespaces and other kinds that others need come first; otherwise as written."""
    places = {name: number for number, name in enumerate(FIRST)}
    return sorted(located, key=lambda item: places.get(item.kind.name, len(FIRST)))


async def _apply(client: HttpClient, item: Located, *, dry_run: bool) -> Outcome:
    kind, namespace = item.kind, item.namespace or None
    wanted = copy.deepcopy(item.object)
    if namespace:
        wanted["metadata"]["namespace"] = namespace
    annotations = wanted["metadata"].setdefault("annotations", {}) or {}
    annotations.pop(ANNOTATION, None)
    wanted["metadata"]["annotations"] = annotations
    annotations[ANNOTATION] = json.dumps(wanted, separators=(",", ":"), sort_keys=True) + "\n"
    try:
        current = await client.get(kind, namespace, item.name)
    except ApiError as error:
        if error.code != 404:
            raise
        return Outcome(item, "created", await client.create(kind, wanted, dry_run=dry_run))
    last = (current["metadata"].get("annotations") or {}).get(ANNOTATION)
    strategic = kinds.by_gvk(kind.api_version, kind.name) is kind  # the custom ones have no merge keys
    patch = with_deletions(json.loads(last) if last else {}, wanted, kind.schema if strategic else None)
    after = await client.patch(
        kind,
        namespace,
        item.name,
        patch,
        patch_type="strategic-merge" if strategic else "merge",
        dry_run=dry_run,
    )
    same = without_version(after) == without_version(current)
    return Outcome(item, "unchanged" if same else "configured", after)


def without_version(obj: Object) -> Object:
    """The object without what every write changes."""
    metadata = {
        k: v
        for k, v in obj["metadata"].items()
        if k not in {"resourceVersion", "generation", "managedFields"}
    }
    return {**obj, "metadata": metadata}


def _found(item: Located, error: ApiError) -> list[Finding]:
    subject = f"{item.kind.name} {f'{item.namespace}/' if item.namespace else ''}{item.name}"
    causes = error.details.get("causes") or [{"field": "", "message": error.message}]
    return [
        Finding(
            "HBK0004", item.place(cause.get("field") or ""), cause.get("message") or error.message,
            subject=subject, field=cause.get("field") or "",
        )
        for cause in causes
    ]  # fmt: skip
