"""Which labels a selector matches."""

from collections.abc import Mapping

from hauberk.model.kubernetes.meta import LabelSelector, LabelSelectorRequirement


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether every requirement of `selector` holds; an empty selector matches everything."""
    return contains(labels, selector.match_labels) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def contains(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether `labels` has all of `wanted`."""
    return all(labels.get(key) == value for key, value in wanted.items())


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    match requirement.operator:
        case "In":
            return labels.get(requirement.key) in requirement.values
        case "NotIn":
            return labels.get(requirement.key) not in requirement.values
        case "Exists":
            return requirement.key in labels
        case "DoesNotExist":
            return requirement.key not in labels
