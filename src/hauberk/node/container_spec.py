"""From a pod's container to what a driver starts (pure but for the names of the host's folders)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from hauberk.model.kind import Object
from hauberk.node import environment, volumes
from hauberk.node.driver import ContainerSpec, Mount
from hauberk.node.environment import References
from hauberk.node.network import PodNetwork
from hauberk.node.pod_record import PodRecord
from hauberk.node.rules import RESOLVER
from hauberk.node.settings import Settings

DEFAULT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT", "AUDIT_WRITE",
)  # fmt: skip
SPIFFE_DIRECTORY = "/run/spiffe"
SPIFFE_SOCKET = "workload.sock"


class ImageRefusedError(Exception):
    """The image is none that this node runs; the message names it."""


def check_image(container: Mapping[str, Any], gateway: bool) -> None:
    """Raises `ImageRefusedError` unless the image is `host`, or `auto` in a gateway pod."""
    image, wanted = container.get("image") or "", "auto" if gateway else "host"
    if image != wanted:
        raise ImageRefusedError(
            f'container "{container["name"]}": image "{image}" is refused: expected "{wanted}"; images are not run; '
            "programs come from the machine's own root file system"
        )


def folder(settings: Settings, uid: str, container: str, attempt: int) -> Path:
    """Where a driver keeps one start of one container."""
    return settings.pod_state(uid) / "containers" / container / str(attempt)


def log_file(settings: Settings, uid: str, container: str, attempt: int) -> Path:
    return folder(settings, uid, container, attempt) / "log"


def build(
    settings: Settings,
    record: PodRecord,
    network: PodNetwork,
    pod: Object,
    container: Mapping[str, Any],
    attempt: int,
    references: References,
    directories: Mapping[str, Path],
    control_groups: Sequence[Path] = (),
) -> ContainerSpec:
    """What to start. Raises `ConfigurationError`."""
    name = container["name"]
    run = settings.pod_run(record.uid)
    where = folder(settings, record.uid, name, attempt)
    variables = environment.environment(pod, container, references, record.address)
    variables.setdefault("SPIFFE_ENDPOINT_SOCKET", f"unix://{SPIFFE_DIRECTORY}/{SPIFFE_SOCKET}")
    user, group, groups = _user(pod, container)
    return ContainerSpec(
        id=f"{name}-{attempt}",
        folder=where,
        control=run / f"control-{crc32(f'{name}/{attempt}'.encode()):08x}",
        network=network.pod,
        uid_base=record.uid_base,
        hostname=pod["spec"].get("hostname") or record.name[:63].rstrip("-."),
        arguments=environment.arguments(container, variables),
        environment=variables,
        log=where / "log",
        directory=container.get("workingDir") or "/",
        user=user,
        group=group,
        groups=groups,
        capabilities=_capabilities(container),
        mounts=[Mount(run / "spiffe", SPIFFE_DIRECTORY), *volumes.mounts(container, directories)],
        hidden=[path for path in (settings.state, settings.run, Path("/etc/hauberk")) if path.exists()],
        files=_files(settings, record, pod),
        control_groups=control_groups,
    )


def _user(pod: Object, container: Mapping[str, Any]) -> tuple[int, int, list[int]]:
    shared = pod["spec"].get("securityContext") or {}
    security = shared | {
        key: value for key, value in (container.get("securityContext") or {}).items() if value is not None
    }
    groups = [int(each) for each in shared.get("supplementalGroups") or ()]
    if shared.get("fsGroup") is not None:
        groups.append(int(shared["fsGroup"]))
    return int(security.get("runAsUser") or 0), int(security.get("runAsGroup") or 0), groups


def _capabilities(container: Mapping[str, Any]) -> list[str]:
    wanted = (container.get("securityContext") or {}).get("capabilities") or {}
    add, drop = ({each.removeprefix("CAP_") for each in wanted.get(key) or ()} for key in ("add", "drop"))
    kept = set() if "ALL" in drop else set(DEFAULT_CAPABILITIES) - drop
    return sorted(kept | (add - {"ALL"}))


def _files(settings: Settings, record: PodRecord, pod: Object) -> dict[str, str]:
    domain = settings.trust_domain
    hosts = ["127.0.0.1 localhost", f"{record.address} {record.name}"]
    for alias in pod["spec"].get("hostAliases") or ():
        hosts.append(" ".join([alias["ip"], *(alias.get("hostnames") or ())]))
    search = f"{record.namespace}.svc.{domain} svc.{domain} {domain}"
    return {
        "/etc/resolv.conf": f"nameserver {RESOLVER}\nsearch {search}\noptions ndots:5\n",
        "/etc/hosts": "\n".join(hosts) + "\n",
        "/etc/hostname": record.name + "\n",
    }
