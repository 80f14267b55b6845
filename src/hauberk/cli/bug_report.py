"""What a bug report holds: states, logs and objects, without anything secret."""

import io
import json
import os
import re
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hauberk.cli.last_applied import ANNOTATION
from hauberk.model import kinds
from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient

LOG_BYTES = 4 * 1024 * 1024
"""Of each log its end, so much of it."""
LEFT_OUT = "left out"
_PRIVATE = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    rb"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+|(?<=[Bb]earer )[\w.~+/-]+=*"
    rb"|(?i:(?:password|passwd|secret|token)=)[^\s\"',&]+|(?<=://)[^\s/@:\"]+:[^\s/@\"]+(?=@)",
    re.DOTALL,
)
"""Private keys, tokens, and passwords in arguments and addresses, wherever they were written by mistake."""
_SECRET_NAME = re.compile(r"password|passwd|secret|token|credential|private.?key|api.?key", re.IGNORECASE)


async def objects(client: HttpClient) -> dict[str, bytes]:
    """A file for each kind that there are objects of; what cannot be listed says why."""
    files = {}
    for kind in kinds.ALL:
        if kind.storage_version:
            continue
        name = f"objects/{kind.plural}{f'.{kind.group}' if kind.group else ''}.json"
        try:
            items = (await client.list(kind)).items
        except ApiError as error:
            files[name] = f"{error}\n".encode()
            continue
        if items:
            files[name] = as_json([without_secrets(kind, item) for item in items])
    return files


def without_secrets(kind: Kind, obj: Object) -> Object:
    """The object without data of Secrets and ConfigMaps, values of variables, and what was applied."""
    metadata = dict(obj["metadata"])
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != ANNOTATION}
    if annotations:
        metadata["annotations"] = annotations
    else:
        metadata.pop("annotations", None)
    shown = {**obj, "metadata": metadata}
    if kind.sensitive or kind is kinds.CONFIG_MAP:
        for section in ("data", "stringData", "binaryData"):
            if section in shown:
                shown[section] = dict.fromkeys(shown[section] or {}, LEFT_OUT)
    found: Object = _without_values(shown)
    return found


def _without_values(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_values(item) for item in value]
    if not isinstance(value, dict):
        return value
    # A variable of a container; one named harmlessly may hold a password all the same.
    if isinstance(value.get("name"), str) and isinstance(value.get("value"), str):
        return {**value, "value": LEFT_OUT}
    return {
        key: LEFT_OUT if isinstance(below, str) and _SECRET_NAME.fullmatch(key) else _without_values(below)
        for key, below in value.items()
    }


def log_end(path: Path) -> bytes:
    """The end of a log."""
    with path.open("rb") as file:
        file.seek(0, io.SEEK_END)
        file.seek(max(file.tell() - LOG_BYTES, 0))
        return file.read()


def as_json(value: Any) -> bytes:
    """JSON as people read it."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def write(target: Path, files: Mapping[str, bytes]) -> None:
    """A gzipped tar, without keys and tokens, that only its owner can read; it must not exist yet.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in files.items():
            shown = _PRIVATE.sub(b"<left out>", content)
            entry = tarfile.TarInfo(f"{target.name.split('.')[0]}/{name}")
            entry.size, entry.mtime = len(shown), int(time.time())
            archive.addfile(entry, io.BytesIO(shown))
