"""A container of a pod: its program, environment, probes, mounts and limits."""

from typing import Annotated, Literal

from msgspec import Meta, field

from hauberk.model.kubernetes.selector import (
    ConfigMapKeySelector,
    FileKeySelector,
    ObjectFieldSelector,
    ResourceFieldSelector,
    SecretKeySelector,
)
from hauberk.model.struct import (
    ATOMIC,
    Count,
    IntOrString,
    KubernetesStruct,
    PositiveCount,
    Quantity,
    doc,
    merged_by,
)


class EnvVarSource(KubernetesStruct, frozen=True):
    """Where a variable's value comes from; exactly one source."""

    config_map_key_ref: ConfigMapKeySelector | None = None
    field_ref: ObjectFieldSelector | None = None
    file_key_ref: FileKeySelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    secret_key_ref: SecretKeySelector | None = None


class EnvVar(KubernetesStruct, frozen=True):
    """An environment variable: a literal value, or a source."""

    name: Annotated[str, doc("The variable.")]
    value: Annotated[str | None, doc("Its value; $(NAME) stands for an earlier variable.")] = None
    value_from: Annotated[EnvVarSource | None, doc("Where the value comes from.")] = None


class ConfigMapEnvSource(KubernetesStruct, frozen=True):
    """All keys of a ConfigMap as variables."""

    name: str | None = None
    optional: bool | None = None


class SecretEnvSource(KubernetesStruct, frozen=True):
    """All keys of a Secret as variables."""

    name: str | None = None
    optional: bool | None = None


class EnvFromSource(KubernetesStruct, frozen=True):
    """Variables taken from a whole ConfigMap or Secret."""

    config_map_ref: ConfigMapEnvSource | None = None
    prefix: str | None = None
    secret_ref: SecretEnvSource | None = None


class ExecAction(KubernetesStruct, frozen=True):
    """Runs a command in the container; exit code 0 is success."""

    command: tuple[str, ...] = ()


class HTTPHeader(KubernetesStruct, frozen=True):
    """A header of a probe's request."""

    name: str
    value: str


class HTTPGetAction(KubernetesStruct, frozen=True):
    """An HTTP GET; status 200 to 399 is success."""

    port: IntOrString
    host: str | None = None
    http_headers: tuple[HTTPHeader, ...] = ()
    path: str | None = None
    protocol: str | None = None
    scheme: Literal["HTTP", "HTTPS"] | None = None


class SleepAction(KubernetesStruct, frozen=True):
    """Waits."""

    seconds: Count


class TCPSocketAction(KubernetesStruct, frozen=True):
    """Opens a TCP connection; being accepted is success."""

    port: IntOrString
    host: str | None = None


class LifecycleHandler(KubernetesStruct, frozen=True):
    """What to do at a moment of a container's life."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    sleep: SleepAction | None = None
    tcp_socket: TCPSocketAction | None = None


class Lifecycle(KubernetesStruct, frozen=True):
    """What to do after a container starts and before it stops."""

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str | None = None


class GRPCAction(KubernetesStruct, frozen=True):
    """Asks the standard gRPC health service."""

    port: int
    mode: str | None = None
    service: str | None = None


class Probe(KubernetesStruct, frozen=True):
    """A check that is repeated while the container runs."""

    exec: ExecAction | None = None
    failure_threshold: Annotated[PositiveCount | None, doc("Failures in a row to be unwell.")] = None
    grpc: GRPCAction | None = None
    http_get: HTTPGetAction | None = None
    initial_delay_seconds: Annotated[Count | None, doc("Seconds before the first check.")] = None
    period_seconds: Annotated[PositiveCount | None, doc("Seconds between checks.")] = None
    success_threshold: Annotated[PositiveCount | None, doc("Successes in a row to be well again.")] = None
    tcp_socket: TCPSocketAction | None = None
    termination_grace_period_seconds: PositiveCount | None = None
    timeout_seconds: Annotated[PositiveCount | None, doc("Seconds after which a check has failed.")] = None


class ContainerPort(KubernetesStruct, frozen=True):
    """A port that the program listens on."""

    container_port: Annotated[Annotated[int, Meta(ge=1, le=65535)], doc("The port's number.")]
    host_ip: str | None = None
    host_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None, doc("A port of the node. Not supported here.")
    ] = None
    name: Annotated[str | None, doc("The port's name, unique in the pod.")] = None
    protocol: Annotated[Literal["TCP", "UDP", "SCTP"] | None, doc("TCP, UDP or SCTP.")] = None


class ContainerResizePolicy(KubernetesStruct, frozen=True):
    """Whether a container restarts when a resource changes."""

    resource_name: str
    restart_policy: Literal["NotRequired", "RestartContainer"]


class ResourceClaim(KubernetesStruct, frozen=True):
    """A resource claim that a container uses."""

    name: str
    request: str | None = None


class ResourceRequirements(KubernetesStruct, frozen=True):
    """Least and most that a container may use."""

    claims: Annotated[tuple[ResourceClaim, ...], merged_by("name")] = ()
    limits: Annotated[dict[str, Quantity], doc("The most that may be used.")] = field(default_factory=dict)
    requests: Annotated[dict[str, Quantity], doc("What is set aside.")] = field(default_factory=dict)


class ContainerRestartRuleOnExitCodes(KubernetesStruct, frozen=True):
    """Exit codes that a restart rule speaks of."""

    operator: str
    values: tuple[int, ...] = ()


class ContainerRestartRule(KubernetesStruct, frozen=True):
    """What to do when the program ends in a certain way."""

    action: str
    exit_codes: ContainerRestartRuleOnExitCodes | None = None


class AppArmorProfile(KubernetesStruct, frozen=True):
    """An AppArmor profile."""

    type: Literal["Unconfined", "RuntimeDefault", "Localhost"]
    localhost_profile: str | None = None


class Capabilities(KubernetesStruct, frozen=True):
    """Linux capabilities to add and to take away."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SELinuxOptions(KubernetesStruct, frozen=True):
    """An SELinux label."""

    level: str | None = None
    role: str | None = None
    type: str | None = None
    user: str | None = None


class SeccompProfile(KubernetesStruct, frozen=True):
    """A seccomp profile."""

    type: Literal["Unconfined", "RuntimeDefault", "Localhost"]
    localhost_profile: str | None = None


class WindowsSecurityContextOptions(KubernetesStruct, frozen=True):
    """Settings of Windows containers, kept and not used."""

    gmsa_credential_spec: str | None = None
    gmsa_credential_spec_name: str | None = None
    host_process: bool | None = None
    run_as_user_name: str | None = None


class SecurityContext(KubernetesStruct, frozen=True):
    """Which user and privileges a container runs with."""

    allow_privilege_escalation: Annotated[
        bool | None, doc("Whether a program may gain more than its parent has.")
    ] = None
    app_armor_profile: AppArmorProfile | None = None
    capabilities: Annotated[Capabilities | None, doc("Linux capabilities.")] = None
    privileged: Annotated[bool | None, doc("All privileges of the node. Not supported here.")] = None
    proc_mount: Literal["Default", "Unmasked"] | None = None
    read_only_root_filesystem: Annotated[
        bool | None, doc("Whether the root file system is read-only; here it always is.")
    ] = None
    run_as_group: Annotated[Count | None, doc("Group ID of the program.")] = None
    run_as_non_root: Annotated[bool | None, doc("Refuse to start as root.")] = None
    run_as_user: Annotated[Count | None, doc("User ID of the program.")] = None
    se_linux_options: SELinuxOptions | None = None
    seccomp_profile: SeccompProfile | None = None
    windows_options: WindowsSecurityContextOptions | None = None


class VolumeDevice(KubernetesStruct, frozen=True):
    """A block device in a container."""

    device_path: str
    name: str


class VolumeMount(KubernetesStruct, frozen=True):
    """A volume in a container's file system."""

    mount_path: Annotated[str, doc("Where it appears.")]
    name: Annotated[str, doc("A volume of the pod.")]
    bind_mount_options: tuple[str, ...] = ()
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] | None = None
    read_only: Annotated[bool | None, doc("Whether writing is refused.")] = None
    recursive_read_only: Literal["Disabled", "IfPossible", "Enabled"] | None = None
    sub_path: Annotated[str | None, doc("A path within the volume.")] = None
    sub_path_expr: str | None = None


class Container(KubernetesStruct, frozen=True):
    """A program in a pod."""

    name: Annotated[str, doc("Unique in the pod.")]
    args: Annotated[tuple[str, ...], doc("Arguments; $(NAME) stands for a variable."), ATOMIC] = ()
    command: Annotated[
        tuple[str, ...], doc("The program and its first arguments; replaces the image's entry point."), ATOMIC
    ] = ()
    env: Annotated[tuple[EnvVar, ...], doc("Environment variables."), merged_by("name")] = ()
    env_from: Annotated[
        tuple[EnvFromSource, ...], doc("Variables from whole ConfigMaps and Secrets."), ATOMIC
    ] = ()
    image: Annotated[str | None, doc("What to run: `host` is the node's own file system.")] = None
    image_pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"] | None, doc("When the image is fetched.")
    ] = None
    lifecycle: Annotated[Lifecycle | None, doc("What to do after the start and before the stop.")] = None
    liveness_probe: Annotated[Probe | None, doc("When it fails, the container is started again.")] = None
    ports: Annotated[
        tuple[ContainerPort, ...],
        doc("Ports that the program listens on."),
        merged_by("containerPort", "protocol"),
    ] = ()
    readiness_probe: Annotated[Probe | None, doc("While it fails, the pod gets no calls.")] = None
    resize_policy: Annotated[tuple[ContainerResizePolicy, ...], ATOMIC] = ()
    resources: Annotated[ResourceRequirements | None, doc("Least and most that the container may use.")] = (
        None
    )
    restart_policy: Annotated[str | None, doc("Always makes an init container run beside the others.")] = None
    restart_policy_rules: tuple[ContainerRestartRule, ...] = ()
    security_context: Annotated[SecurityContext | None, doc("User and privileges.")] = None
    startup_probe: Annotated[Probe | None, doc("Until it succeeds, the other probes wait.")] = None
    stdin: Annotated[bool | None, doc("Keep standard input open.")] = None
    stdin_once: Annotated[bool | None, doc("Close standard input after the first client.")] = None
    termination_message_path: Annotated[
        str | None, doc("File whose content tells why the program ended.")
    ] = None
    termination_message_policy: Annotated[
        Literal["File", "FallbackToLogsOnError"] | None,
        doc("Whether the end of the log may stand in for that file."),
    ] = None
    tty: Annotated[bool | None, doc("Give the program a terminal.")] = None
    volume_devices: Annotated[tuple[VolumeDevice, ...], doc("Block devices."), merged_by("devicePath")] = ()
    volume_mounts: Annotated[
        tuple[VolumeMount, ...], doc("Where volumes appear."), merged_by("mountPath")
    ] = ()
    working_dir: Annotated[str | None, doc("Where the program starts.")] = None


class EphemeralContainer(KubernetesStruct, frozen=True):
    """A container added to a running pod to look into it."""

    name: Annotated[str, doc("Unique in the pod.")]
    args: Annotated[tuple[str, ...], doc("Arguments; $(NAME) stands for a variable."), ATOMIC] = ()
    command: Annotated[
        tuple[str, ...], doc("The program and its first arguments; replaces the image's entry point."), ATOMIC
    ] = ()
    env: Annotated[tuple[EnvVar, ...], doc("Environment variables."), merged_by("name")] = ()
    env_from: Annotated[
        tuple[EnvFromSource, ...], doc("Variables from whole ConfigMaps and Secrets."), ATOMIC
    ] = ()
    image: Annotated[str | None, doc("What to run: `host` is the node's own file system.")] = None
    image_pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"] | None, doc("When the image is fetched.")
    ] = None
    lifecycle: Annotated[Lifecycle | None, doc("What to do after the start and before the stop.")] = None
    liveness_probe: Annotated[Probe | None, doc("When it fails, the container is started again.")] = None
    ports: Annotated[
        tuple[ContainerPort, ...],
        doc("Ports that the program listens on."),
        merged_by("containerPort", "protocol"),
    ] = ()
    readiness_probe: Annotated[Probe | None, doc("While it fails, the pod gets no calls.")] = None
    resize_policy: Annotated[tuple[ContainerResizePolicy, ...], ATOMIC] = ()
    resources: Annotated[ResourceRequirements | None, doc("Least and most that the container may use.")] = (
        None
    )
    restart_policy: Annotated[str | None, doc("Always makes an init container run beside the others.")] = None
    restart_policy_rules: tuple[ContainerRestartRule, ...] = ()
    security_context: Annotated[SecurityContext | None, doc("User and privileges.")] = None
    startup_probe: Annotated[Probe | None, doc("Until it succeeds, the other probes wait.")] = None
    stdin: Annotated[bool | None, doc("Keep standard input open.")] = None
    stdin_once: Annotated[bool | None, doc("Close standard input after the first client.")] = None
    target_container_name: str | None = None
    termination_message_path: Annotated[
        str | None, doc("File whose content tells why the program ended.")
    ] = None
    termination_message_policy: Annotated[
        Literal["File", "FallbackToLogsOnError"] | None,
        doc("Whether the end of the log may stand in for that file."),
    ] = None
    tty: Annotated[bool | None, doc("Give the program a terminal.")] = None
    volume_devices: Annotated[tuple[VolumeDevice, ...], doc("Block devices."), merged_by("devicePath")] = ()
    volume_mounts: Annotated[
        tuple[VolumeMount, ...], doc("Where volumes appear."), merged_by("mountPath")
    ] = ()
    working_dir: Annotated[str | None, doc("Where the program starts.")] = None
