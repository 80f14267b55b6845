"""NetworkPolicy."""

from typing import Annotated, Literal

from hauberk.model.kubernetes.meta import LabelSelector, ObjectMeta
from hauberk.model.struct import IntOrString, KubernetesStruct, doc


class NetworkPolicyPort(KubernetesStruct, frozen=True):
    """A port or a range."""

    end_port: int | None = None
    port: IntOrString | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None


class IPBlock(KubernetesStruct, frozen=True):
    """A network, save parts of it."""

    cidr: str
    except_: tuple[str, ...] = ()


class NetworkPolicyPeer(KubernetesStruct, frozen=True):
    """Pods or addresses at the other end."""

    ip_block: IPBlock | None = None
    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None


class NetworkPolicyEgressRule(KubernetesStruct, frozen=True):
    """Who may be called."""

    ports: tuple[NetworkPolicyPort, ...] = ()
    to: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicyIngressRule(KubernetesStruct, frozen=True):
    """Who may call."""

    from_: tuple[NetworkPolicyPeer, ...] = ()
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicySpec(KubernetesStruct, frozen=True):
    """Pods and the peers that they may talk with."""

    egress: tuple[NetworkPolicyEgressRule, ...] = ()
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    pod_selector: LabelSelector | None = None
    policy_types: tuple[Literal["Ingress", "Egress"], ...] = ()


class NetworkPolicy(KubernetesStruct, frozen=True):
    """Which pods may open connections to which, by address; enforced where the pods' packets meet."""

    metadata: Annotated[ObjectMeta, doc("Name, labels and the API's own bookkeeping.")] = ObjectMeta()
    spec: Annotated[NetworkPolicySpec | None, doc("What is wanted.")] = None
