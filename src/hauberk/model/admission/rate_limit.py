"""Rules on RateLimit."""

import re

from hauberk.model.admission.syntax import (
    Errors,
    dns_label_1035,
    duplicate,
    duration,
    forbidden,
    invalid,
    labels,
    required,
)
from hauberk.model.hauberk.rate_limit import Distinction, RateLimit, RateLimitRule, RequestMatch
from hauberk.model.validation import describe

SHORTEST = 0.05
"""Seconds: the shortest period that Envoy takes."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def admit_rate_limit(new: RateLimit, _old: RateLimit | None) -> Errors:
    """Rules of distinct names, each with one sort of limit; a service where one is global."""
    spec = new.spec
    if spec.selector is not None:
        yield from labels(spec.selector.match_labels, "spec.selector.matchLabels")
        if spec.target_refs:
            yield forbidden("spec.selector", "expected selector or targetRefs, found both: remove one")
    names: set[str] = set()
    for index, rule in enumerate(spec.rules):
        path = f"spec.rules[{index}]"
        if rule.name in names:
            yield duplicate(f"{path}.name", f'there is already a rule "{rule.name}": take another name')
        names.add(rule.name)
        yield from _admit_rule(rule, path)
        if rule.global_ is not None and spec.service is None:
            yield required("spec.service", f'rule "{rule.name}" is global: name the service that knows it')
    if spec.service is not None:
        yield from duration(spec.service.timeout, "spec.service.timeout", least=0.001)


def _admit_rule(rule: RateLimitRule, path: str) -> Errors:
    yield from dns_label_1035(rule.name, f"{path}.name")
    if (rule.local is None) is (rule.global_ is None):
        found = "neither" if rule.local is None else "both"
        yield required(path, f"expected either local or global, found {found}")
    if rule.local is not None:
        yield from duration(rule.local.per, f"{path}.local.per", least=SHORTEST)
    if rule.match is not None:
        yield from _admit_match(rule.match, f"{path}.match")
    for index, one in enumerate(rule.by):
        yield from _admit_distinction(one, f"{path}.by[{index}]")
        if one in rule.by[:index]:
            yield duplicate(f"{path}.by[{index}]", "this is told apart already: remove it")


def _admit_match(match: RequestMatch, path: str) -> Errors:
    if match == RequestMatch():
        yield required(path, "expected at least one field: leave `match` out to match every request")
    for name, values in (("methods", match.methods), ("paths", match.paths), ("hosts", match.hosts)):
        for index, value in enumerate(values):
            at = f"{path}.{name}[{index}]"
            if not value:
                yield required(at, "must not be empty")
            elif "*" in value[1:-1] or (len(value) > 1 and value.startswith("*") and value.endswith("*")):
                yield invalid(at, f"a * can stand only at one end, found {describe(value)}")


def _admit_distinction(one: Distinction, path: str) -> Errors:
    if (one.header is None) is (one.attribute is None):
        yield required(path, "expected either header or attribute")
    elif one.header is not None and not _HEADER.fullmatch(one.header):
        yield invalid(f"{path}.header", f"expected the name of a header, found {describe(one.header)}")
