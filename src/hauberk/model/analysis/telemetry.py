"""Telemetry, MeshConfig and CUSTOM policies: does what they name exist, and can it take what is sent?"""

from collections.abc import Iterator, Mapping

from hauberk.model.admission.mesh_config import ENVOY
from hauberk.model.analysis.finding import Finding
from hauberk.model.analysis.protocol import carried, speaks_http2
from hauberk.model.analysis.security import ROOT_NAMESPACE
from hauberk.model.analysis.world import Item, World
from hauberk.model.hauberk.mesh_config import ExtensionProvider, MeshConfig
from hauberk.model.istio.security import AuthorizationPolicy
from hauberk.model.istio.telemetry import ProviderReference, Telemetry


def analyze_telemetry(world: World) -> Iterator[Finding]:
    """Codes HBK0701 to HBK0707."""
    providers = {ENVOY: "accessLogging"}
    for config in world.all(MeshConfig):
        for index, provider in enumerate(config.value.spec.extension_providers):
            providers[provider.name] = _use(provider)
            yield from _service(world, config, provider, f"spec.extensionProviders[{index}]")
        defaults = config.value.spec.default_providers
        for use in ("accessLogging", "tracing") if defaults is not None else ():
            named = getattr(defaults, "access_logging" if use == "accessLogging" else use) or ()
            for index, name in enumerate(named):
                path = f"spec.defaultProviders.{use}[{index}]"
                yield from _provider(config, name, use, providers, path)
    for policy in world.all(AuthorizationPolicy):
        asked = policy.value.spec.provider
        if policy.value.spec.action == "CUSTOM" and asked is not None and asked.name:
            path = "spec.provider.name"
            yield from _provider(policy, asked.name, "authorization", providers, path)
    seen: dict[tuple[str, str], Item[Telemetry]] = {}
    for item in world.all(Telemetry):
        yield from _telemetry(world, item, providers)
        key = (item.namespace, str(sorted(_labels(item).items())))
        first = seen.setdefault(key, item)
        if first is not item:
            yield item.finding("HBK0703", "spec", f"Telemetry {first.name} applies to the same pods")


def _use(provider: ExtensionProvider) -> str:
    if provider.envoy_ext_authz_grpc or provider.envoy_ext_authz_http:
        return "authorization"
    return "tracing" if provider.opentelemetry else "accessLogging"


def _telemetry(world: World, item: Item[Telemetry], providers: Mapping[str, str]) -> Iterator[Finding]:
    spec, labels = item.value.spec, _labels(item)
    if labels and not world.pods(item.namespace, labels):
        told = ", ".join(f"{key}={value}" for key, value in labels.items())
        yield item.finding("HBK0701", "spec.selector", f"no pod in {item.namespace} has the labels {told}")
    if labels and item.namespace == ROOT_NAMESPACE:
        message = f"a selector chooses pods of {ROOT_NAMESPACE} only: leave it out to speak of the whole mesh"
        yield item.finding("HBK0701", "spec.selector", message)
    uses: list[tuple[str, int, tuple[ProviderReference, ...]]] = [
        *(("accessLogging", index, entry.providers) for index, entry in enumerate(spec.access_logging)),
        *(("tracing", index, entry.providers) for index, entry in enumerate(spec.tracing)),
    ]
    for use, index, named in uses:
        for number, provider in enumerate(named):
            path = f"spec.{use}[{index}].providers[{number}].name"
            yield from _provider(item, provider.name, use, providers, path)
    if spec.metrics:
        yield item.finding("HBK0706", "spec.metrics", "metrics are always reported, with their usual labels")


def _labels(item: Item[Telemetry]) -> Mapping[str, str]:
    selector = item.value.spec.selector
    return selector.match_labels if selector is not None else {}


def _provider(
    item: Item[Telemetry] | Item[MeshConfig] | Item[AuthorizationPolicy],
    name: str,
    use: str,
    providers: Mapping[str, str],
    path: str,
) -> Iterator[Finding]:
    found = providers.get(name)
    if found is None:
        yield item.finding("HBK0702", path, f'there is no provider "{name}": {", ".join(providers)} are')
    elif found != use:
        yield item.finding("HBK0702", path, f'"{name}" is for {found}, and cannot be used for {use}')


def _service(
    world: World, item: Item[MeshConfig], provider: ExtensionProvider, path: str
) -> Iterator[Finding]:
    for name, told in (
        ("envoyHttpAls", provider.envoy_http_als),
        ("envoyTcpAls", provider.envoy_tcp_als),
        ("opentelemetry", provider.opentelemetry),
        ("envoyExtAuthzGrpc", provider.envoy_ext_authz_grpc),
        ("envoyExtAuthzHttp", provider.envoy_ext_authz_http),
    ):
        if told is None:
            continue
        at = f"{path}.{name}"
        host = told.service.rpartition("/")[2]
        service = world.service(host, "") if "." in host else None
        spec = service.value.spec if service is not None else None
        if service is None or spec is None:
            yield item.finding("HBK0704", f"{at}.service", f'there is no Service "{host}"')
            continue
        port = next((port for port in spec.ports if port.port == told.port), None)
        if port is None:
            ports = ", ".join(str(port.port) for port in spec.ports)
            yield item.finding("HBK0704", f"{at}.port", f"{host} has the ports {ports}, found {told.port}")
        elif name == "envoyExtAuthzHttp":
            if carried(port) != "http":
                message = f"port {told.port} of {host} is not named as HTTP"
                yield item.finding("HBK0707", f"{at}.port", message)
        elif not speaks_http2(port):
            yield item.finding("HBK0705", f"{at}.port", f"port {told.port} of {host} is not named as gRPC")
        if spec.cluster_ip == "None":
            message = f"{host} is headless: it has no address of its own to send to"
            yield item.finding("HBK0704", f"{at}.service", message)
