"""The engine's answers in words."""

import re
from collections.abc import Iterator
from typing import Any

from hauberk.cli.callers import Caller
from hauberk.cli.explaining import Answer, Call

_POLICY = re.compile(r"(?:istio-ext-authz-)?ns\[(.*)]-policy\[(.*)]-rule\[(\d+)]")
_ROUTE = re.compile(r"/apis/networking\.istio\.io/v1/namespaces/(.*)/virtual-service/(.*)")
_MARKS = {True: "yes", False: "no", None: "unknown"}


def policy_object(name: str) -> str:
    """`ns[a]-policy[p]-rule[0]` → `AuthorizationPolicy a/p, rule 0`."""
    found = _POLICY.fullmatch(name)
    return f"AuthorizationPolicy {found[1]}/{found[2]}, rule {found[3]}" if found else name


def route_object(path: str | None) -> str:
    """The object that a route came from; of a route of the Gateway API the object that it was derived from."""
    found = _ROUTE.fullmatch(path or "")
    if found is None:
        return "the Service alone: no VirtualService says more"
    name, *derived = found[2].split("~")
    kind = {
        "httproute": "HTTPRoute",
        "grpcroute": "GRPCRoute",
        "tcproute": "TCPRoute",
        "tlsroute": "TLSRoute",
    }
    return f"{kind.get(derived[0], 'VirtualService') if derived else 'VirtualService'} {found[1]}/{name}"


def inbound_lines(answer: Answer, caller: Caller, call: Call) -> Iterator[str]:
    """The verdict, what decided it, and what each policy made of the call."""
    verdict = {True: "ALLOWED", False: "REFUSED", None: "IT DEPENDS"}[answer["allowed"]]
    what = f"{call.method} {call.target}" if call.is_http else "a connection"
    yield f"{verdict}: {what} of {answer['callee']} at {answer['destination']}, by {caller}"
    yield f"  {_reason(answer)}"
    for thing in answer.get("depends_on") or ():
        yield f"  depends on {thing}"
    for note in answer.get("notes") or ():
        yield f"  {note}"
    if caller.address is None:
        yield "  not known: where the call comes from"
    yield from _rules(answer.get("rules") or ())


def _reason(answer: Answer) -> str:
    reason = answer.get("reason") or ""
    if answer.get("policy"):
        return f"{policy_object(answer['policy'])}: {reason}"
    return reason or "no policy had to decide"


def _rules(rules: Any) -> Iterator[str]:
    for each in rules:
        yield f"  {each['rules']}"
        for policy in each["policies"]:
            yield f"    {policy_object(policy['policy'])}: matches: {_MARKS[policy['matches']]}"
            for one in policy["conditions"]:
                yield f"      {_MARKS[one['holds']]:<8} {one['condition']}"


def outbound_lines(answer: Answer) -> Iterator[str]:
    """Where the caller's proxy sends a call."""
    if answer.get("listener"):
        service, protocol = answer.get("service") or "no service", answer.get("protocol", "closed")
        yield f"  listener {answer['listener']} ({service}), {protocol}"
    if answer.get("allowed") is False:
        yield f"  refused: {_reason(answer)}"
    route = answer.get("route")
    if route is None:
        if answer.get("cluster"):
            yield from _cluster(answer["cluster"])
        elif answer.get("status_without_route"):
            yield f"  no route: {answer['status_without_route']}"
        return
    yield f"  virtual host {route['virtual_host']} ({', '.join(route['domains'])})"
    yield f"  route {route['name'] or '(no name)'}, from {route_object(route.get('object'))}"
    if "redirect" in route:
        yield f"  redirect {route['redirect']['status']} to {route['redirect']['location']}"
    if "direct_response" in route:
        yield f"  answered at once with {route['direct_response']['status']}"
    if "forward" in route:
        yield from _forward(route["forward"])


def _forward(forward: dict[str, Any]) -> Iterator[str]:
    yield f"  sent as {forward['host']} {forward['path']}"
    timeout = forward["timeout_seconds"]
    yield f"  timeout {f'{timeout:g} s' if timeout is not None else 'none'}; {_retry(forward['retry'])}"
    for mirror in forward["mirrors"]:
        yield f"  a copy goes to {mirror['cluster']}"
    if not forward["clusters"]:
        yield f"  no cluster: {forward['status_without_cluster']}"
    for cluster in forward["clusters"]:
        yield from _cluster(cluster)


def _retry(retry: dict[str, Any] | None) -> str:
    if not retry or not retry["retries"]:
        return "no retries"
    conditions = ", ".join(name.replace("_", "-") for name, on in retry["on"].items() if on)
    return f"at most {retry['retries']} retries on {conditions}"


def _cluster(cluster: dict[str, Any]) -> Iterator[str]:
    weight = f", weight {cluster['weight']}" if "weight" in cluster else ""
    if not cluster["exists"]:
        yield f"  cluster {cluster['name']}{weight}: there is none of that name"
        return
    yield f"  cluster {cluster['name']}{weight}"
    if cluster["original_destination"]:
        yield "    to the address that the caller meant"
    elif not cluster["endpoints"]:
        yield "    no endpoints: 503"
    for endpoint in cluster["endpoints"]:
        workload = endpoint["workload"] or {}
        name = f" {workload['namespace']}/{workload['name']}" if workload.get("name") else ""
        proof = "mutual TLS" if endpoint["mutual_tls"] else "plain text"
        yield f"    {endpoint['address']}{name}, {proof}, {endpoint['health']}, priority {endpoint['priority']}"
