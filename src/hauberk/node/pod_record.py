"""What the node keeps of a pod on disk, so that a new agent finds it: its names, address and user ids."""

import shutil
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

import msgspec

from hauberk import ipv6
from hauberk.model.kind import Object
from hauberk.node.settings import Settings

FIRST_UID = 0x1000_0000
"""Host user id of the first pod's root; each pod has 65,536 of its own."""
IDS_A_POD = 65_536
FIRST_PROXY_UID = 0x0FFF_0000
"""Host user id of the first pod's proxy: no pod's own range contains it."""
MOST_PODS = 4096
GATEWAY_ANNOTATION = "hauberk.io/gateway"


class NoAddressLeftError(Exception):
    """All addresses of this node are taken."""


class PodRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The durable facts of one pod."""

    uid: str
    namespace: str
    name: str
    index: int
    address: str
    gateway: bool = False

    @property
    def ip(self) -> IPv4Address:
        return IPv4Address(self.address)

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """All of them, the first one first: an IPv6 address too where this machine has IPv6."""
        return (self.ip, ipv6.beside(self.ip)) if ipv6.available() else (self.ip,)

    @property
    def uid_base(self) -> int:
        """Host user id of the pod's root."""
        return FIRST_UID + self.index * IDS_A_POD

    @property
    def proxy_uid(self) -> int:
        """Host user id of the pod's proxy, and of it alone."""
        return FIRST_PROXY_UID + self.index


def load(settings: Settings) -> dict[str, PodRecord]:
    """All records by UID; a folder without one belongs to no pod and is removed."""
    found = {}
    folder = settings.node_state / "pods"
    for entry in folder.iterdir() if folder.is_dir() else ():
        try:
            record = msgspec.json.decode((entry / "pod.json").read_bytes(), type=PodRecord)
        except (FileNotFoundError, msgspec.DecodeError):
            shutil.rmtree(entry)
            continue
        found[record.uid] = record
    return found


def allocate(settings: Settings, pod: Object, taken: Iterable[PodRecord]) -> PodRecord:
    """A record for a new pod with the lowest free index, written before it is used.

    Raises:
        NoAddressLeftError: every index is taken.
    """
    used = {record.index for record in taken}
    room = min(MOST_PODS, settings.pod_cidr.num_addresses - settings.block - 3)
    index = next((candidate for candidate in range(room) if candidate not in used), None)
    if index is None:
        raise NoAddressLeftError(
            f"pod addresses: all {room} of {settings.pod_cidr} from {settings.host_address} are taken"
        )
    metadata = pod["metadata"]
    record = PodRecord(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        index=index,
        address=str(settings.host_address + 1 + index),
        gateway=is_gateway(pod),
    )
    folder = settings.pod_state(record.uid)
    folder.mkdir(parents=True, mode=0o711, exist_ok=True)
    temporary = folder / "pod.json~"
    temporary.write_bytes(msgspec.json.encode(record))
    temporary.rename(folder / "pod.json")
    return record


def is_gateway(pod: Object) -> bool:
    """A gateway pod runs no program of its own: its proxy is the program."""
    return bool((pod["metadata"].get("annotations") or {}).get(GATEWAY_ANNOTATION) == "true")
