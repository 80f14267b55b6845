"""What a node agent is told on its command line, and where its files lie (docs/architecture.md, "On disk")."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from zlib import crc32

DEFAULT_POD_CIDR = IPv4Network("10.66.0.0/16")


@dataclass(frozen=True, slots=True)
class Settings:
    """One node agent of one instance."""

    name: str
    instance: str
    state: Path
    run: Path
    kubeconfig: Path
    grpc: str
    """`HOST:PORT` of the control plane's gRPC port."""
    pod_cidr: IPv4Network = DEFAULT_POD_CIDR
    trust_domain: str = "cluster.local"
    lease_seconds: int = 40
    """How long after its last sign of life the node counts as alive."""

    @property
    def node_state(self) -> Path:
        return self.state / "node"

    @property
    def volumes(self) -> Path:
        """Directories of PersistentVolumeClaims, one folder a namespace."""
        return self.node_state / "volumes"

    @property
    def svids(self) -> Path:
        """Chains of issued SVIDs by serial number: public, kept so that a call can be explained later."""
        return self.node_state / "svids"

    def pod_state(self, uid: str) -> Path:
        """What must outlive a reboot: address, logs, exit codes, volumes of the pod's own."""
        return self.node_state / "pods" / uid

    def pod_run(self, uid: str) -> Path:
        """The pod's sockets and its proxy's files."""
        return self.run / "pods" / uid

    @property
    def block(self) -> int:
        """Where in the pod CIDR this instance begins: instances on one machine rarely meet."""
        blocks = max(1, self.pod_cidr.num_addresses // 256 - 16)
        return crc32(self.instance.encode()) % blocks * 256

    @property
    def host_address(self) -> IPv4Address:
        """The machine's address on its link to gateway pods."""
        return self.pod_cidr.network_address + self.block + 1
