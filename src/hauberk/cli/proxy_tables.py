"""What a proxy's configuration says, as rows for people: from Envoy's resources as JSON. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Resource = dict[str, Any]
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of resource, and the columns that tell the most about it."""

    name: str
    short: str
    """As the control plane calls it: `LDS`, …"""
    headers: tuple[str, ...]


LISTENERS = Section("listeners", "LDS", ("ADDRESS", "PORT", "MATCH", "DESTINATION"))
ROUTES = Section("routes", "RDS", ("NAME", "DOMAINS", "MATCH", "DESTINATION"))
CLUSTERS = Section("clusters", "CDS", ("SERVICE", "PORT", "SUBSET", "DIRECTION", "TYPE", "LINK"))
ENDPOINTS = Section("endpoints", "EDS", ("ENDPOINT", "HEALTH", "WEIGHT", "WORKLOAD", "CLUSTER"))
SECTIONS = {each.name: each for each in (LISTENERS, ROUTES, CLUSTERS, ENDPOINTS)}


def name_of(resource: Resource) -> str:
    """The name under which the control plane sends it."""
    return str(resource.get("name") or resource.get("cluster_name") or "-")


def port_of(section: str, resource: Resource) -> int | None:
    """The port that it is about; None if it is about none."""
    if section == "listeners":
        port = _socket(resource).get("port_value")
        return int(port) if port else None
    text = name_of(resource)
    if section == "routes":
        digits = text.rpartition(":")[2].rpartition("|")[0] or text.rpartition(":")[2]
    else:
        digits = text.split("|")[1] if text.count("|") == 3 else ""
    return int(digits) if digits.isdecimal() else None


def rows_of(section: str, resource: Resource) -> Iterator[Row]:
    """One row or several."""
    match section:
        case "listeners":
            yield from _listener(resource)
        case "routes":
            yield from _routes(resource)
        case "clusters":
            yield _cluster(resource)
        case _:
            yield from _endpoints(resource)


def _listener(listener: Resource) -> Iterator[Row]:
    socket = _socket(listener)
    at = (str(socket.get("address") or "-"), str(socket.get("port_value") or "-"))
    chains = list(listener.get("filter_chains") or ())
    if default := listener.get("default_filter_chain"):
        chains.append({**default, "filter_chain_match": {}})
    for chain in chains:
        yield (*at, _chain_match(chain.get("filter_chain_match") or {}), _chain_destination(chain))
    if not chains:
        filters = [
            str(each.get("name", "")).rpartition(".")[2] for each in listener.get("listener_filters") or ()
        ]
        yield (*at, "ALL", ", ".join(filters) or "-")


def _chain_match(match: Resource) -> str:
    words: list[str] = []
    if port := match.get("destination_port"):
        words.append(f"port {port}")
    if protocol := match.get("transport_protocol"):
        words.append("plain" if protocol == "raw_buffer" else str(protocol))
    words += [
        ", ".join(match[field]) for field in ("server_names", "application_protocols") if match.get(field)
    ]
    return "; ".join(words) or "ALL"


def _chain_destination(chain: Resource) -> str:
    for each in chain.get("filters") or ():
        config = each.get("typed_config") or {}
        if route := (config.get("rds") or {}).get("route_config_name"):
            return f"Route {route}"
        if inline := config.get("route_config"):
            return ", ".join(dict.fromkeys(row[3] for row in _routes(inline))) or "-"
        if cluster := config.get("cluster"):
            return f"Cluster {cluster}"
        if weighted := config.get("weighted_clusters"):
            return f"Cluster {_weighted(weighted)}"
    return "-"


def _routes(configuration: Resource) -> Iterator[Row]:
    for host in configuration.get("virtual_hosts") or ():
        domains = _first(host.get("domains") or ["*"])
        for route in host.get("routes") or ():
            yield name_of(configuration), domains, _route_match(route.get("match") or {}), _action(route)


def _route_match(match: Resource) -> str:
    words = []
    for field, shown in (("path", "{}"), ("prefix", "{}*"), ("path_separated_prefix", "{}/*")):
        if field in match:
            words.append(shown.format(str(match[field])))
    if regex := (match.get("safe_regex") or {}).get("regex"):
        words.append(f"~{regex}")
    words += [_header(each) for each in match.get("headers") or ()]
    words += [f"?{each.get('name')}" for each in match.get("query_parameters") or ()]
    return " ".join(words) or "/*"


def _header(match: Resource) -> str:
    """`header x=1`, or only the name where it is compared in another way."""
    exact = (match.get("string_match") or {}).get("exact") or match.get("exact_match")
    return f"header {match.get('name')}" + (f"={exact}" if exact else "")


def _action(route: Resource) -> str:
    if direct := route.get("direct_response"):
        return f"status {direct.get('status')}"
    if redirect := route.get("redirect"):
        to = "".join(
            str(redirect.get(part) or "") for part in ("host_redirect", "path_redirect", "prefix_rewrite")
        )
        return f"redirect {to}".rstrip()
    action = route.get("route") or {}
    return str(action.get("cluster") or _weighted(action.get("weighted_clusters") or {}) or "-")


def _weighted(clusters: Resource) -> str:
    return ", ".join(f"{each['name']} ({each.get('weight', 0)})" for each in clusters.get("clusters") or ())


def _cluster(cluster: Resource) -> Row:
    name = name_of(cluster)
    type_ = str(cluster.get("type") or (cluster.get("cluster_type") or {}).get("name") or "STATIC")
    matches = cluster.get("transport_socket_matches") or ()
    sockets = [each.get("transport_socket") or {} for each in matches] + [
        cluster.get("transport_socket") or {}
    ]
    encrypted = any("tls" in str(each.get("name", "")) for each in sockets)
    link = "-" if name.count("|") != 3 and not encrypted else "mTLS" if encrypted else "plain"
    if name.count("|") != 3:
        return name, "-", "-", "-", type_, link
    direction, port, subset, host = name.split("|")
    if direction == "inbound":
        link = "-"  # to the pod's own program
    return host or "-", port, subset or "-", direction, type_, link


def _endpoints(assignment: Resource) -> Iterator[Row]:
    cluster = name_of(assignment)
    for locality in assignment.get("endpoints") or ():
        for each in locality.get("lb_endpoints") or ():
            socket = _socket(each.get("endpoint") or {})
            metadata = ((each.get("metadata") or {}).get("filter_metadata") or {}).get("istio") or {}
            name, _, rest = str(metadata.get("workload") or "").partition(";")
            yield (
                f"{socket.get('address')}:{socket.get('port_value')}",
                str(each.get("health_status") or "HEALTHY"),
                str(each.get("load_balancing_weight") or 1),
                f"{rest.partition(';')[0]}/{name}" if name else "-",
                cluster,
            )


def _socket(resource: Resource) -> Resource:
    found: Resource = (resource.get("address") or {}).get("socket_address") or {}
    return found


def _first(names: Sequence[str], most: int = 2) -> str:
    more = f", +{len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
