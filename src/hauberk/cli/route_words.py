"""What a VirtualService and a DestinationRule do, in words. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

Spec = Mapping[str, Any]


def routes_in_words(spec: Spec) -> Iterator[str]:
    """A line a route, in order: the first that matches a call decides."""
    for route in spec.get("http") or ():
        yield f"{_matches(route)} → {', '.join(_http(route))}"
    for protocol in ("tls", "tcp"):
        for route in spec.get(protocol) or ():
            yield f"{protocol.upper()} {_matches(route)} → {_destinations(route.get('route') or ())}"


def policy_in_words(policy: Spec) -> Iterator[str]:
    """A traffic policy of a DestinationRule: a line for what it says of balancing, limits, outliers and TLS."""
    balancer = policy.get("loadBalancer") or {}
    if balancer.get("simple"):
        yield f"balanced by {balancer['simple']}"
    if balancer.get("consistentHash"):
        yield f"balanced by the hash of {_hashed(balancer['consistentHash'])}"
    if warmup := balancer.get("warmup") or balancer.get("warmupDurationSecs"):
        yield f"a new endpoint is warmed up: {_flat(warmup) if isinstance(warmup, Mapping) else warmup}"
    if balancer.get("localityLbSetting"):
        yield f"by locality: {_flat(balancer['localityLbSetting'])}"
    for protocol, limits in (policy.get("connectionPool") or {}).items():
        yield f"limits of {protocol}: {_flat(limits)}"
    if outliers := policy.get("outlierDetection"):
        yield f"endpoints that fail are left out: {_flat(outliers) or 'by default figures'}"
    if tls := policy.get("tls"):
        yield f"TLS of its callers: {_flat(tls)}"
    for port in policy.get("portLevelSettings") or ():
        rest = {name: value for name, value in port.items() if name != "port"}
        for line in policy_in_words(rest):
            yield f"port {(port.get('port') or {}).get('number')}: {line}"


def _matches(route: Spec) -> str:
    return " or ".join(filter(None, map(_match, route.get("match") or ()))) or "every call"


def _match(match: Spec) -> str:
    found: list[str] = []
    for field, value in match.items():
        if field in {"name", "ignoreUriCase", "statPrefix"}:
            continue
        if field in {"headers", "withoutHeaders", "queryParams"}:
            sign = "without " if field == "withoutHeaders" else ""
            noun = "parameter" if field == "queryParams" else "header"
            found += [f"{sign}{noun} {name} {_text(told)}".rstrip() for name, told in value.items()]
        elif field == "sourceLabels":
            found.append(f"from pods with {_flat(value)}")
        elif field == "sourceNamespace":
            found.append(f"from namespace {value}")
        elif isinstance(value, Mapping):
            found.append(f"{'path' if field == 'uri' else field} {_text(value)}")
        else:
            found.append(f"{field} {','.join(map(str, value)) if isinstance(value, list) else value}")
    return " and ".join(found)


def _text(told: Spec) -> str:
    if not told:
        return ""  # present, whatever it says
    ((how, value),) = list(told.items())[:1]
    return {"exact": f"= {value}", "prefix": f"{value}*", "regex": f"~ {value}"}.get(how, f"{how} {value}")


def _http(route: Spec) -> Iterator[str]:
    if redirect := route.get("redirect"):
        yield f"redirect {_flat(redirect)}"
    elif direct := route.get("directResponse"):
        yield f"answered {direct.get('status')} by the proxy itself"
    else:
        yield _destinations(route.get("route") or ()) or "nowhere"
    if rewrite := route.get("rewrite"):
        yield f"rewritten {_flat(rewrite)}"
    if route.get("timeout"):
        yield f"within {route['timeout']}"
    if retries := route.get("retries"):
        yield _retries(retries)
    for kind, fault in (route.get("fault") or {}).items():
        share = (fault.get("percentage") or {}).get("value", 100)
        yield f"{kind} for {share:g} %: {_flat({k: v for k, v in fault.items() if k != 'percentage'})}"
    for mirror in [
        *filter(None, [route.get("mirror")]),
        *(one["destination"] for one in route.get("mirrors") or ()),
    ]:
        yield f"a copy to {_destination(mirror)}"
    if route.get("corsPolicy"):
        yield "CORS"
    if route.get("headers"):
        yield f"headers {_flat(route['headers'])}"


def _retries(told: Spec) -> str:
    if not told.get("attempts"):
        return "no retries"
    each = f", each within {told['perTryTimeout']}" if told.get("perTryTimeout") else ""
    return f"{told['attempts']} retries{each} on {told.get('retryOn') or 'what was surely not processed'}"


def _destinations(told: Any) -> str:
    total = sum(one.get("weight", 0) for one in told)
    if len(told) == 1:
        return _destination(told[0]["destination"])
    return " / ".join(
        f"{100 * one.get('weight', 0) / (total or 1):.4g} % {_destination(one['destination'])}"
        for one in told
    )


def _destination(told: Spec) -> str:
    port = (told.get("port") or {}).get("number")
    subset = f" subset {told['subset']}" if told.get("subset") else ""
    return f"{told['host']}{f':{port}' if port else ''}{subset}"


def _hashed(told: Spec) -> str:
    for field, words in (("httpHeaderName", "header"), ("httpQueryParameterName", "parameter")):
        if told.get(field):
            return f"{words} {told[field]}"
    if told.get("httpCookie"):
        return f"cookie {told['httpCookie'].get('name')}"
    return "the caller's address" if told.get("useSourceIp") else _flat(told)


def _flat(told: Spec) -> str:
    """Nested fields on one line."""
    found = []
    for name, value in told.items():
        if value in (None, {}, []):
            continue
        if isinstance(value, Mapping):
            found.append(f"{name} ({_flat(value)})")
        elif isinstance(value, list):
            parts = [f"({_flat(one)})" if isinstance(one, Mapping) else str(one) for one in value]
            found.append(f"{name} {','.join(parts)}")
        else:
            found.append(f"{name} {str(value).lower() if isinstance(value, bool) else value}")
    return ", ".join(found)
