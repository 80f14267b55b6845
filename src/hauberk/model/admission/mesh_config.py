"""Rules on MeshConfig."""

import re
from http import HTTPStatus

from hauberk.model.admission.syntax import Errors, duplicate, duration, invalid, required
from hauberk.model.hauberk.mesh_config import ExtensionProvider, ExternalAuthorizationHttp, MeshConfig
from hauberk.model.validation import describe

ENVOY = "envoy"
"""The provider that is always there: the access log of each proxy."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_STATUSES = {str(one.value) for one in HTTPStatus if one >= 200} - {"418", "425", "451"}
"""Those that Envoy has a word for."""
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


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
        "envoyExtAuthzGrpc": provider.envoy_ext_authz_grpc,
        "envoyExtAuthzHttp": provider.envoy_ext_authz_http,
    }
    found = [name for name, value in sorts.items() if value is not None]
    if len(found) != 1:
        yield required(path, f"expected one of {', '.join(sorts)}, found {' and '.join(found) or 'none'}")
    file = provider.envoy_file_access_log
    if file is not None and file.log_format is not None:
        told = file.log_format
        if (told.text is None) is (not told.labels):
            yield required(f"{path}.envoyFileAccessLog.logFormat", "expected either text or labels")
    for sort, authorizer in (
        ("envoyExtAuthzGrpc", provider.envoy_ext_authz_grpc),
        ("envoyExtAuthzHttp", provider.envoy_ext_authz_http),
    ):
        if authorizer is not None:
            at = f"{path}.{sort}"
            yield from duration(authorizer.timeout, f"{at}.timeout", least=0.001)
            yield from _admit_status(authorizer.status_on_error, f"{at}.statusOnError")
    if provider.envoy_ext_authz_http is not None:
        yield from _admit_http_authorizer(provider.envoy_ext_authz_http, f"{path}.envoyExtAuthzHttp")


def _admit_status(status: str | None, path: str) -> Errors:
    if status is not None and status not in _STATUSES:
        yield invalid(path, f'expected an HTTP status such as "503", found {describe(status)}')


def _admit_http_authorizer(told: ExternalAuthorizationHttp, path: str) -> Errors:
    if told.path_prefix is not None and not told.path_prefix.startswith("/"):
        yield invalid(f"{path}.pathPrefix", f"expected a path, found {describe(told.path_prefix)}")
    for field, names in (
        ("includeHeadersInCheck", told.include_headers_in_check),
        ("includeRequestHeadersInCheck", told.include_request_headers_in_check),
        ("headersToUpstreamOnAllow", told.headers_to_upstream_on_allow),
        ("headersToDownstreamOnDeny", told.headers_to_downstream_on_deny),
        ("headersToDownstreamOnAllow", told.headers_to_downstream_on_allow),
    ):
        for index, name in enumerate(names):
            bare = name.removeprefix("*") if name.startswith("*") else name.removesuffix("*")
            if name != "*" and not _HEADER.fullmatch(bare):
                expected = "the name of a header, with * at one end at most"
                yield invalid(f"{path}.{field}[{index}]", f"expected {expected}, found {describe(name)}")
    for name, value in told.include_additional_headers_in_check.items():
        at = f"{path}.includeAdditionalHeadersInCheck[{name}]"
        if not _HEADER.fullmatch(name):
            yield invalid(at, f"expected the name of a header, found {describe(name)}")
        if not _HEADER_VALUE.fullmatch(value):
            yield invalid(at, f"expected a header's value, without line breaks, found {describe(value)}")
