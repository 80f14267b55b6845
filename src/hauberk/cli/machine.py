"""What this machine can and cannot do: each thing tried where that leaves nothing behind, else looked for."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hauberk import binaries

Level = Literal["ok", "warn", "fail"]
OLDEST_KERNEL = (5, 15)
TRY_SECONDS = 10
NAMESPACES = ("net", "mnt", "pid", "uts", "ipc", "user", "cgroup")
TPROXY_RULES = """table inet hauberk_check {
  chain gate {
    type filter hook prerouting priority mangle; policy accept;
    meta l4proto tcp tproxy ip to 127.0.0.1:15001 meta mark set 1
  }
}
"""
BANK_PROGRAMS = {
    "/usr/sbin/nginx": "nginx-light",
    "/usr/bin/redis-server": "redis-server",
    "/usr/lib/postgresql/*/bin/postgres": "postgresql",
    "/usr/bin/python3": "python3",
}
"""What examples/bank runs from the host, and Debian's packages of it."""
BANK_MODULES = ("flask", "grpc", "google.protobuf", "psycopg2", "redis", "waitress")
BANK_MODULE_PACKAGES = (
    "python3-flask python3-grpcio python3-protobuf python3-psycopg2 python3-redis python3-waitress"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing: `fail` means that pods cannot run here without it."""

    name: str
    level: Level
    says: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_machine() -> list[Check]:
    """Everything, in the order of what depends on what."""
    return [found for look in _LOOKS for found in look()]


def _root() -> Iterator[Check]:
    if os.geteuid() == 0:
        yield Check("root", "ok", "runs as root")
    else:
        yield Check(
            "root", "fail", f"runs as user {os.geteuid()}", "run it with sudo: namespaces and rules need root"
        )


def _kernel() -> Iterator[Check]:
    release = platform.release()
    wanted = ".".join(map(str, OLDEST_KERNEL))
    if platform.system() != "Linux":
        yield Check("kernel", "fail", f"{platform.system()} {release}", f"expected Linux {wanted} or later")
        return
    digits = release.split("-")[0].split(".")[:2]
    old = tuple(int(part) for part in digits if part.isdigit()) < OLDEST_KERNEL
    remedy = f"expected Linux {wanted} or later: upgrade the kernel" if old else ""
    yield Check("kernel", "fail" if old else "ok", f"Linux {release}", remedy)


def _namespaces() -> Iterator[Check]:
    missing = [name for name in NAMESPACES if not Path(f"/proc/self/ns/{name}").exists()]
    if missing:
        yield Check(
            "namespaces",
            "fail",
            f"the kernel has no {', '.join(missing)}",
            "use a kernel with CONFIG_NAMESPACES",
        )
        return
    said = _try("unshare", "--net", "--mount", "--pid", "--fork", "true")
    if said:
        remedy = "inside a container, give it CAP_SYS_ADMIN (--privileged)"
        yield Check("namespaces", "fail", f"cannot make them: {said}", remedy)
    else:
        yield Check("namespaces", "ok", ", ".join(NAMESPACES))


def _transparent_proxy() -> Iterator[Check]:
    if not shutil.which("nft"):
        yield Check("nftables", "fail", "there is no program nft", "apt-get install nftables")
        return
    said = _try("unshare", "--net", "nft", "-f", "-", text=TPROXY_RULES)
    if said:
        remedy = "load the kernel modules nf_tables and nft_tproxy: modprobe nft_tproxy"
        yield Check("nftables", "fail", f"a rule with tproxy is refused: {said}", remedy)
    else:
        yield Check("nftables", "ok", "takes rules with tproxy")


def _links() -> Iterator[Check]:
    if not shutil.which("ip"):
        yield Check("links", "fail", "there is no program ip", "apt-get install iproute2")
        return
    said = _try(
        "unshare", "--net", "ip", "link", "add", "hauberk0", "type", "veth", "peer", "name", "hauberk1"
    )
    if said:
        yield Check("veth", "fail", f"cannot make a pair: {said}", "load the kernel module: modprobe veth")
    else:
        yield Check("veth", "ok", "makes pairs of links")
    if Path("/dev/net/tun").exists():
        yield Check("tun", "ok", "/dev/net/tun is there")
    else:
        yield Check(
            "tun",
            "warn",
            "there is no /dev/net/tun",
            "modprobe tun; only sandboxes with a TUN device need it",
        )


def _overlay() -> Iterator[Check]:
    layers = "lowerdir=l,upperdir=u,workdir=w"
    script = f'mount -t tmpfs none "$1" && cd "$1" && mkdir l u w m && mount -t overlay -o {layers} none m'
    with tempfile.TemporaryDirectory(prefix="hauberk-check-") as folder:
        said = _try("unshare", "--mount", "sh", "-c", script, "sh", folder)
    if said:
        remedy = "load the kernel module: modprobe overlay"
        yield Check("overlayfs", "warn", f"cannot be mounted: {said}", remedy)
    else:
        yield Check("overlayfs", "ok", "can be mounted")


def _control_groups() -> Iterator[Check]:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        yield Check("control groups", "ok", "version 2")
    elif Path("/sys/fs/cgroup/memory").exists():
        yield Check(
            "control groups", "warn", "version 1", "version 2 limits more: boot with systemd.unified_cgroup_hierarchy=1"
        )  # fmt: skip
    else:
        yield Check(
            "control groups", "warn", "not mounted at /sys/fs/cgroup", "without them pods have no limits"
        )


def _seccomp() -> Iterator[Check]:
    path = Path("/proc/sys/kernel/seccomp/actions_avail")
    if path.exists():
        yield Check("seccomp", "ok", path.read_text().strip())
    else:
        yield Check("seccomp", "warn", "not offered", "use a kernel with CONFIG_SECCOMP_FILTER")


def _kvm() -> Iterator[Check]:
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        yield Check("kvm", "ok", "/dev/kvm is there; not booted")
    else:
        yield Check("kvm", "warn", "there is no usable /dev/kvm", "only machines as sandboxes need it")


def _binaries() -> Iterator[Check]:
    for name in ("hauberk-proxy", "hauberk-sandbox"):
        try:
            yield Check(name, "ok", str(binaries.find(name)))
        except binaries.BinaryNotFoundError as error:
            yield Check(name, "fail", "not installed", str(error))


def _bank() -> Iterator[Check]:
    for pattern, package in BANK_PROGRAMS.items():
        name = Path(pattern).name
        found = sorted(Path("/").glob(pattern.lstrip("/")))
        if found:
            yield Check(name, "ok", str(found[-1]))
        else:
            yield Check(
                name,
                "warn",
                f"not at {pattern}, where examples/bank expects it",
                f"apt-get install {package}",
            )
    said = _try("/usr/bin/python3", "-c", f"import {', '.join(BANK_MODULES)}")
    if said:
        said = "not all there, and examples/bank imports them"
        yield Check("python3's modules", "warn", said, f"apt-get install {BANK_MODULE_PACKAGES}")
    else:
        yield Check("python3's modules", "ok", ", ".join(BANK_MODULES))


def _try(*arguments: str, text: str = "") -> str:
    """Empty if the command succeeds, else what it says."""
    try:
        done = subprocess.run(
            arguments, input=text, capture_output=True, text=True, timeout=TRY_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if not done.returncode:
        return ""
    said = done.stderr.strip().splitlines()
    return said[0] if said else f"{arguments[0]} ended with exit code {done.returncode}"


_LOOKS: tuple[Callable[[], Iterator[Check]], ...] = (
    _root, _kernel, _namespaces, _transparent_proxy, _links, _overlay, _control_groups, _seccomp, _kvm,
    _binaries, _bank,
)  # fmt: skip
