"""A pod's volumes as directories of the host, with files owned by the pod's own user ids."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from hauberk.model.kind import Object
from hauberk.node.driver import Mount
from hauberk.node.environment import ConfigurationError, References, pod_field, resource_field
from hauberk.node.pod_record import IDS_A_POD, PodRecord

OWNER_FILE = ".hauberk-owner"
TOKEN_MODE = 0o644


class Volumes:
    """Lays out the volumes of one pod under its state folder; claims lie elsewhere and stay."""

    def __init__(self, record: PodRecord, folder: Path, claims: Path) -> None:
        self._record = record
        self._folder = folder / "volumes"
        self._claims = claims / record.namespace

    def prepare(self, pod: Object, references: References, tokens: Mapping[str, str]) -> dict[str, Path]:
        """Every volume's directory by the volume's name. `tokens` are service account tokens by audience.

        Raises:
            ConfigurationError: a volume cannot be made; the message says which and why.
        """
        security = pod["spec"].get("securityContext") or {}
        group = security.get("fsGroup")
        result = {}
        self._folder.mkdir(mode=0o711, exist_ok=True)
        for volume in pod["spec"].get("volumes") or ():
            name = volume["name"]
            if claim := volume.get("persistentVolumeClaim"):
                result[name] = self._claim(claim["claimName"], group)
            elif "emptyDir" in volume:
                result[name] = self._directory(self._folder / name, group, 0o777)
            else:
                files = self._files(volume, pod, references, tokens)
                result[name] = self._write(self._folder / name, files, group)
        return result

    def _files(
        self, volume: Mapping[str, Any], pod: Object, references: References, tokens: Mapping[str, str]
    ) -> dict[str, tuple[bytes, int]]:
        for source in ("configMap", "secret", "downwardAPI"):
            if source in volume:
                return self._source(source, volume[source], pod, references, 0o644)
        if projected := volume.get("projected"):
            mode = int(projected.get("defaultMode") or 0o644)
            files: dict[str, tuple[bytes, int]] = {}
            for each in projected.get("sources") or ():
                if token := each.get("serviceAccountToken"):
                    files[token["path"]] = (tokens[token.get("audience") or ""].encode(), TOKEN_MODE)
                for source in ("configMap", "secret", "downwardAPI"):
                    if source in each:
                        files |= self._source(source, each[source], pod, references, mode)
            return files
        kind = next((key for key in volume if key != "name"), "nothing")
        raise ConfigurationError(
            f'volume "{volume["name"]}": {kind} is not supported; use emptyDir, configMap, secret, downwardAPI, '
            "projected or persistentVolumeClaim"
        )

    def _source(
        self, kind: str, source: Mapping[str, Any], pod: Object, references: References, mode: int
    ) -> dict[str, tuple[bytes, int]]:
        mode = int(source.get("defaultMode") or mode)
        optional = bool(source.get("optional"))
        if kind == "downwardAPI":
            files = {}
            for item in source.get("items") or ():
                if field := item.get("fieldRef"):
                    text = pod_field(pod, field["fieldPath"], self._record.address)
                else:
                    text = resource_field(pod, {}, item["resourceFieldRef"])
                files[item["path"]] = (text.encode(), int(item.get("mode") or mode))
            return files
        name = source.get("secretName") or source["name"]
        data = (
            references.secret(name, optional) if kind == "secret" else references.config_map(name, optional)
        )
        if data is None:
            return {}
        if not source.get("items"):
            return {key: (value, mode) for key, value in data.items()}
        files = {}
        for item in source["items"]:
            if item["key"] in data:
                files[item["path"]] = (data[item["key"]], int(item.get("mode") or mode))
            elif not optional:
                raise ConfigurationError(f'{kind} "{name}": key "{item["key"]}" not found')
        return files

    def _write(self, folder: Path, files: Mapping[str, tuple[bytes, int]], group: int | None) -> Path:
        """Each file appears whole: written aside, then renamed over the old one."""
        self._directory(folder, group, 0o755)
        for path, (content, mode) in files.items():
            pure = PurePosixPath(path)
            if pure.is_absolute() or ".." in pure.parts:
                raise ConfigurationError(f"volume path {path!r}: expected a relative path without '..'")
            file = folder / pure
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists() and file.read_bytes() == content:
                continue
            temporary = file.with_name(f".{file.name}~")
            temporary.write_bytes(content)
            os.chown(temporary, self._record.uid_base, self._record.uid_base + (group or 0))
            temporary.chmod(mode | (0o440 if group is not None else 0))
            temporary.rename(file)
        return folder

    def _directory(self, folder: Path, group: int | None, mode: int) -> Path:
        if not folder.exists():
            folder.mkdir(parents=True)
            os.chown(folder, self._record.uid_base, self._record.uid_base + (group or 0))
            folder.chmod(mode | (0o2070 if group is not None else 0))
        return folder

    def _claim(self, name: str, group: int | None) -> Path:
        """The directory of a claim; files keep their owners as the pods that use it see them."""
        folder = self._claims / name
        self._directory(folder / "data", group, 0o777)
        owner = folder / OWNER_FILE
        before = int(owner.read_text()) if owner.exists() else self._record.uid_base
        if before != self._record.uid_base:
            _shift(folder / "data", before, self._record.uid_base)
        owner.write_text(str(self._record.uid_base))
        if group is not None:
            os.chown(folder / "data", -1, self._record.uid_base + group)
            (folder / "data").chmod((folder / "data").stat().st_mode & 0o7777 | 0o2070)
        return folder / "data"


def mounts(container: Mapping[str, Any], volumes: Mapping[str, Path]) -> list[Mount]:
    """Where a container wants its volumes. Raises `ConfigurationError`."""
    result = []
    for wanted in container.get("volumeMounts") or ():
        if wanted["name"] not in volumes:
            raise ConfigurationError(f'volumeMount "{wanted["name"]}": the pod has no volume of this name')
        source = volumes[wanted["name"]]
        sub = wanted.get("subPath") or ""
        if ".." in PurePosixPath(sub).parts or sub.startswith("/"):
            raise ConfigurationError(f"subPath {sub!r}: expected a relative path without '..'")
        result.append(Mount(source, wanted["mountPath"], bool(wanted.get("readOnly")), sub))
    return result


def _shift(folder: Path, before: int, after: int) -> None:
    """Gives every file of one pod's ids to another's."""
    for root, directories, files in os.walk(folder):
        for name in [".", *directories, *files]:
            path = Path(root) / name
            found = path.lstat()
            uid, gid = (
                after + value - before if before <= value < before + IDS_A_POD else value
                for value in (found.st_uid, found.st_gid)
            )
            if (uid, gid) != (found.st_uid, found.st_gid):
                os.lchown(path, uid, gid)
                if not path.is_symlink():
                    path.chmod(found.st_mode & 0o7777)


def remove(folder: Path) -> None:
    """Removes a pod's own volumes with its state."""
    shutil.rmtree(folder, ignore_errors=True)
