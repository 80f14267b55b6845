"""What the API says about itself: health, version, discovery and OpenAPI."""

import msgspec
from aiohttp import web

from hauberk.model.kind import Object
from hauberk.store import discovery, openapi, openapi_protobuf, status
from hauberk.store.answers import json_answer
from hauberk.store.bodies import Form
from hauberk.store.registry import Registry

VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+hauberk",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


class Documents:
    """Made from a registry; those of OpenAPI are large, and kept until it changes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kept: dict[tuple[str, bool], bytes] = {}
        self._generation = -1

    def answer(self, request: web.Request, form: Form) -> web.Response:
        """Whatever is not a resource. Raises `ApiError` 404 or 405."""
        if request.method not in {"GET", "HEAD"}:
            raise status.method_not_allowed()
        path = request.path.rstrip("/") or "/"
        match path.split("/")[1:]:
            case ["healthz" | "livez" | "readyz", *_]:
                return web.Response(text="ok")
            case ["version"]:
                return json_answer(VERSION)
            case [""]:
                return json_answer({"paths": self._paths()})
            case ["api"] | ["apis"] if form.as_kind == "APIGroupDiscoveryList":
                found = discovery.aggregated(self._registry, core=path == "/api", version=form.version)
                content = f"application/json;g=apidiscovery.k8s.io;v={form.version};as=APIGroupDiscoveryList"
                return json_answer(found, content_type=content)
            case ["api"]:
                return json_answer(discovery.core_versions(request.host))
            case ["apis"]:
                return json_answer(discovery.group_list(self._registry))
            case ["api", version]:
                document = discovery.resource_list(self._registry, "", version)
            case ["apis", group]:
                document = discovery.group(self._registry, group)
            case ["apis", group, version]:
                document = discovery.resource_list(self._registry, group, version)
            case _:
                document = None
        if document is None:
            raise status.no_such_path()
        return json_answer(document)

    def openapi(self, request: web.Request) -> web.Response:
        """`/openapi/v2` and what is below `/openapi/v3`. Raises `ApiError` 404 or 405."""
        if request.method not in {"GET", "HEAD"}:
            raise status.method_not_allowed()
        as_protobuf = "proto-openapi.spec.v2" in request.headers.get("Accept", "")
        wanted = (request.path.rstrip("/"), as_protobuf)
        if self._generation != self._registry.generation:
            self._kept.clear()
            self._generation = self._registry.generation
        if wanted not in self._kept:
            self._kept[wanted] = self._encoded(*wanted)
        # The type's own name has an '@', which the clients that ask for it cannot parse in an answer.
        content_type = "application/octet-stream" if as_protobuf else "application/json"
        return web.Response(body=self._kept[wanted], headers={"Content-Type": content_type})

    def _encoded(self, path: str, as_protobuf: bool) -> bytes:
        document: Object | None
        match path.split("/")[2:]:
            case ["v2"]:
                document = openapi.document_v2(self._registry)
                if as_protobuf:
                    return openapi_protobuf.encode_document(document)
            case ["v3"]:
                document = openapi.index_v3(self._registry)
            case ["v3", "api", version]:
                document = openapi.document_v3(self._registry, "", version)
            case ["v3", "apis", group, version]:
                document = openapi.document_v3(self._registry, group, version)
            case _:
                document = None
        if document is None:
            raise status.no_such_path()
        return msgspec.json.encode(document)

    def _paths(self) -> list[str]:
        paths = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/readyz", "/version"]
        for group in self._registry.groups():
            paths += [f"/apis/{group}", *(f"/apis/{group}/{v}" for v in self._registry.versions(group))]
        return sorted(paths)
