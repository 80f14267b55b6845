"""Where endpoints are, and which of them a caller goes to (Istio, "Locality Load Balancing").

A pod is where its label `istio-locality` says (`region.zone.subzone`), else where the labels of its node's topology say
that it carries; a WorkloadEntry where its `locality` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hauberk.mesh.facts import Endpoint, Labels

Spec = Mapping[str, Any]

LOCALITY_LABEL = "istio-locality"
TOPOLOGY_LABELS = (
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
)


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """A place; parts that are not known are empty."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str, separator: str = "/") -> Locality:
        region, zone, subzone, *_ = [*text.split(separator), "", "", ""]
        return cls(region, zone, subzone)

    def within(self, pattern: str) -> bool:
        """Whether `region/zone/subzone`, cut short or ending in `*`, covers it."""
        for told, own in zip(pattern.split("/"), (self.region, self.zone, self.subzone), strict=False):
            if told == "*":
                return True
            if told != own:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a caller is, and its labels as far as a rule looks at them."""

    locality: Locality
    labels: Labels


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints of one place, for the callers that a load assignment is made for."""

    locality: Locality
    endpoints: tuple[Endpoint, ...]
    weight: int
    priority: int = 0


def locality_of_labels(labels: Labels) -> Locality:
    told = labels.get(LOCALITY_LABEL)
    if told:
        return Locality.parse(told, "/" if "/" in told else ".")
    return Locality(*(labels.get(name) for name in TOPOLOGY_LABELS))


def locality_of(endpoint: Endpoint) -> Locality:
    """Of its pod, else of the entry or slice that names it."""
    own = locality_of_labels(endpoint.workload.labels) if endpoint.workload else Locality()
    if own != Locality():
        return own
    return Locality.parse(endpoint.zone) if "/" in endpoint.zone else Locality(zone=endpoint.zone)


def settings_of(load_balancer: Spec) -> Spec:
    """The locality settings of a traffic policy; empty if there are none or they are off."""
    told: Spec = load_balancer.get("localityLbSetting") or {}
    return {} if told.get("enabled") is False else told


def looks_at_place(policy: Spec) -> bool:
    """Whether a traffic policy depends on where the caller is: by its settings, or since it judges endpoints."""
    balancer = policy.get("loadBalancer") or {}
    enabled = (balancer.get("localityLbSetting") or {}).get("enabled") is not False
    return bool(settings_of(balancer)) or (enabled and policy.get("outlierDetection") is not None)


def priority_labels(settings: Spec) -> list[str]:
    """The labels that `failoverPriority` compares."""
    return [str(one).partition("=")[0] for one in settings.get("failoverPriority") or ()]


def groups(
    endpoints: Iterable[Endpoint], settings: Spec, caller: Caller | None, *, failover: bool
) -> list[Group]:
    """The endpoints by place; with settings, weighed or put in order for the caller.

    `failover` says whether endpoints are judged (`outlierDetection`), and fail over unless that is switched off: as
    Istio has it, endpoints near the caller come first then, with or without settings.
    """
    by_place: dict[Locality, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_place.setdefault(locality_of(endpoint), []).append(endpoint)
    found = [Group(place, tuple(one), sum(each.weight for each in one)) for place, one in by_place.items()]
    if caller is None:
        return found
    shares = _shares(settings, caller)
    if shares is not None:
        return _distributed(found, shares)
    if not failover:
        return found
    if settings.get("failoverPriority"):
        return _by_labels(found, settings["failoverPriority"], caller)
    return _ranked(found, lambda group: _distance(group.locality, caller.locality, settings))


def _shares(settings: Spec, caller: Caller) -> Mapping[str, int] | None:
    """Of the first entry of `distribute` that covers the caller; the most specific one is to stand first."""
    for one in settings.get("distribute") or ():
        if caller.locality.within(str(one.get("from") or "*")):
            shares: Mapping[str, int] = one.get("to") or {}
            return shares
    return None


def _distributed(found: Sequence[Group], shares: Mapping[str, int]) -> list[Group]:
    """Each share goes to the places that it covers, by their endpoints; places without one get nothing."""
    covering: dict[str, list[Group]] = {}
    for group in found:
        fitting = [pattern for pattern in shares if group.locality.within(pattern)]
        if fitting:
            best = max(fitting, key=lambda pattern: (pattern.count("/"), "*" not in pattern))
            covering.setdefault(best, []).append(group)
    made = []
    for pattern, there in covering.items():
        total = sum(group.weight for group in there)
        for group in there:
            weight = shares[pattern] * 100 * group.weight // total
            if weight:
                made.append(Group(group.locality, group.endpoints, weight))
    return sorted(made, key=lambda group: group.locality)


def _distance(place: Locality, own: Locality, settings: Spec) -> int:
    if place.region == own.region:
        if place.zone != own.zone:
            return 2
        return 0 if place.subzone == own.subzone else 1
    targets = {one.get("from"): one.get("to") for one in settings.get("failover") or ()}
    return 3 if targets.get(own.region) in (None, place.region) else 4


def _by_labels(found: Sequence[Group], told: Sequence[str], caller: Caller) -> list[Group]:
    """Endpoints come first that have the most of these labels, from the first on, as the caller has them."""

    def rank(endpoint: Endpoint) -> int:
        labels = endpoint.workload.labels if endpoint.workload else Labels()
        for index, one in enumerate(told):
            name, given, value = one.partition("=")
            if labels.get(name) != (value if given else caller.labels.get(name)):
                return len(told) - index
        return 0

    split: dict[tuple[int, Locality], list[Endpoint]] = {}
    for group in found:
        for endpoint in group.endpoints:
            split.setdefault((rank(endpoint), group.locality), []).append(endpoint)
    ranks = {id(one): place[0] for place, several in split.items() for one in several}
    made = [Group(place[1], tuple(one), sum(each.weight for each in one)) for place, one in split.items()]
    return _ranked(made, lambda group: ranks[id(group.endpoints[0])])


def _ranked(found: Sequence[Group], rank: Callable[[Group], int]) -> list[Group]:
    """Priorities from 0 on without a gap, as Envoy wants them."""
    order = {told: index for index, told in enumerate(sorted({rank(group) for group in found}))}
    made = [Group(one.locality, one.endpoints, one.weight, order[rank(one)]) for one in found]
    return sorted(made, key=lambda group: (group.priority, group.locality))
