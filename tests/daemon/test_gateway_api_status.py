"""The status of the Gateway API's objects, as kubectl waits for it."""

import asyncio
import json
from typing import Any

MANIFEST = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: hauberk
  listeners:
    - {name: http, port: 8080, protocol: HTTP}
    - {name: tls, port: 8443, protocol: TLS, tls: {mode: Passthrough}}
    - {name: tcp, port: 9000, protocol: TCP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: http}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: grpc}
spec: {parentRefs: [{name: edge, sectionName: tcp}], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: tls}
spec: {parentRefs: [{name: edge}], hostnames: [a.example], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: tcp}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: absent, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: edge
  labels: {gateway.networking.k8s.io/gateway-name: edge}
  annotations: {hauberk.io/gateway: "true"}
spec: {containers: [{name: gateway, image: host, command: [pause]}]}
"""


async def test_kubectl_waits_for_what_became_of_gateways_and_routes(hauberkd: Any) -> None:
    hauberkd.start()

    async def kubectl(*arguments: str, **more: Any) -> str:
        return await asyncio.to_thread(hauberkd.kubectl, *arguments, **more)

    async def becomes(kind: str, condition: str, status: str, where: str = ".parents[0]") -> None:
        path = f"{{.status{where}.conditions[?(@.type=='{condition}')].status}}"
        await kubectl("wait", kind, f"--for=jsonpath={path}={status}", "--timeout=15s")

    async with hauberkd.node():
        await kubectl("apply", "-f", "-", stdin=MANIFEST)
        await kubectl("wait", "gatewayclass/hauberk", "--for=condition=Accepted", "--timeout=15s")
        await kubectl("wait", "gateway/edge", "--for=condition=Accepted", "--timeout=15s")
        await kubectl("wait", "gateway/edge", "--for=condition=Programmed", "--timeout=15s")
        for kind, condition, status in (
            ("httproute/http", "Accepted", "True"),
            ("httproute/http", "ResolvedRefs", "True"),
            ("grpcroute/grpc", "Accepted", "False"),
            ("tlsroute/tls", "Accepted", "True"),
            ("tcproute/tcp", "Accepted", "True"),
            ("tcproute/tcp", "ResolvedRefs", "False"),
        ):
            await becomes(kind, condition, status)
        gateway = json.loads(await kubectl("get", "gateway", "edge", "-o", "json"))
        attached = {one["name"]: one["attachedRoutes"] for one in gateway["status"]["listeners"]}
        assert attached == {"http": 1, "tls": 1, "tcp": 1}
        route = json.loads(await kubectl("get", "httproute", "http", "-o", "json"))
        (parent,) = route["status"]["parents"]
        assert parent["controllerName"] == "hauberk.io/gateway-controller"
        assert {one["observedGeneration"] for one in parent["conditions"]} == {1}
        # What is said already is not written again, though the mesh goes on changing.
        await kubectl("create", "namespace", "elsewhere")
        await kubectl("delete", "tcproute", "tcp")
        path = "{.status.listeners[2].attachedRoutes}"
        await kubectl("wait", "gateway/edge", f"--for=jsonpath={path}=0", "--timeout=15s")
        later = json.loads(await kubectl("get", "httproute", "http", "-o", "json"))
        assert later["metadata"]["resourceVersion"] == route["metadata"]["resourceVersion"]
        # A status that somebody took away comes back.
        patch = '{"status": {"conditions": null, "listeners": null}}'
        await kubectl("patch", "gateway", "edge", "--subresource=status", "--type=merge", "-p", patch)
        await kubectl("wait", "gateway/edge", "--for=condition=Programmed", "--timeout=15s")
        await kubectl("delete", "pod", "edge", "--wait=false")
        await kubectl("wait", "gateway/edge", "--for=condition=Programmed=False", "--timeout=15s")
