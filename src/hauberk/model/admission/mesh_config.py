"""Rules on MeshConfig."""

from hauberk.model.admission.syntax import Errors, duplicate, invalid, required
from hauberk.model.hauberk.mesh_config import ExtensionProvider, MeshConfig

ENVOY = "envoy"
"""The provider that is always there: the access log of each proxy."""


def admit_mesh_config(new: MeshConfig, _old: MeshConfig | None) -> Errors:
    """One object; providers with distinct names, each of one sort."""
    if new.metadata.name != "default":
        yield invalid(
            "metadata.name", f'expected "default", the only MeshConfig, found "{new.metadata.name}"'
        )
    seen: set[str] = {ENVOY}
    for index, provider in enumerate(new.spec.extension_providers):
        path = f"spec.extensionProviders[{index}]"
        if provider.name in seen:
            yield duplicate(
                f"{path}.name", f'there is already a provider "{provider.name}": take another name'
            )
        seen.add(provider.name)
        yield from _admit_provider(provider, path)


def _admit_provider(provider: ExtensionProvider, path: str) -> Errors:
    sorts = {
        "envoyFileAccessLog": provider.envoy_file_access_log,
        "envoyHttpAls": provider.envoy_http_als,
        "envoyTcpAls": provider.envoy_tcp_als,
        "opentelemetry": provider.opentelemetry,
    }
    found = [name for name, value in sorts.items() if value is not None]
    if len(found) != 1:
        yield required(path, f"expected one of {', '.join(sorts)}, found {' and '.join(found) or 'none'}")
    file = provider.envoy_file_access_log
    if file is not None and file.log_format is not None:
        told = file.log_format
        if (told.text is None) is (not told.labels):
            yield required(f"{path}.envoyFileAccessLog.logFormat", "expected either text or labels")
