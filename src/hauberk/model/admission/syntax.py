"""The forms of names, labels, addresses and patterns."""

import ipaddress
import re
from collections.abc import Iterator

from hauberk.model.duration import parse_duration
from hauberk.model.kind import FieldError
from hauberk.model.quantity import parse_quantity
from hauberk.model.validation import describe

Errors = Iterator[FieldError]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VARIABLE = re.compile(r"[ -<>-~]+")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?")
_BEYOND_RE2 = re.compile(r"\(\?<?[=!]|\(\?P=|\(\?\(|\\[1-9]")


def invalid(path: str, message: str) -> FieldError:
    """A value of the right type and the wrong content."""
    return FieldError(path, message)


def required(path: str, message: str = "is required: add it") -> FieldError:
    """Something that is missing."""
    return FieldError(path, message, "FieldValueRequired")


def forbidden(path: str, message: str) -> FieldError:
    """Something that must not be set or changed here."""
    return FieldError(path, message, "FieldValueForbidden")


def duplicate(path: str, message: str) -> FieldError:
    """Something that is there twice."""
    return FieldError(path, message, "FieldValueDuplicate")


def not_found(path: str, message: str) -> FieldError:
    """A reference to something that is not there."""
    return FieldError(path, message, "FieldValueNotFound")


def not_supported(path: str, message: str) -> FieldError:
    """A value that is not among the allowed ones."""
    return FieldError(path, message, "FieldValueNotSupported")


def dns_label(value: str, path: str) -> Errors:
    """RFC 1123 label: at most 63 lower-case letters, digits and inner hyphens."""
    if len(value) > 63 or not _LABEL.fullmatch(value):
        yield invalid(path, f"expected at most 63 of a-z, 0-9 and inner -, found {describe(value)}")


def dns_label_1035(value: str, path: str) -> Errors:
    """RFC 1035 label: a DNS label that begins with a letter."""
    if len(value) > 63 or not _LABEL_1035.fullmatch(value):
        yield invalid(
            path, f"expected a letter, then at most 62 of a-z, 0-9 and inner -, found {describe(value)}"
        )


def dns_subdomain(value: str, path: str) -> Errors:
    """RFC 1123 subdomain: DNS labels joined by dots, at most 253 characters."""
    if len(value) > 253 or not _SUBDOMAIN.fullmatch(value):
        yield invalid(path, f"expected at most 253 of a-z, 0-9 and inner - and ., found {describe(value)}")


def path_segment(value: str, path: str) -> Errors:
    """A name that can stand in a URL's path; roles may hold colons."""
    if value in {".", ".."} or "/" in value or "%" in value:
        yield invalid(path, f"expected a name without / and %, and not . or .., found {describe(value)}")


def qualified_name(value: str, path: str) -> Errors:
    """The key of a label or annotation: `NAME`, or `DOMAIN/NAME`."""
    prefix, slash, name = value.rpartition("/")
    if slash:
        yield from dns_subdomain(prefix, path)
    if len(name) > 63 or not _QUALIFIED.fullmatch(name):
        yield invalid(
            path, f"expected a key of letters, digits and inner -, _ and ., found {describe(value)}"
        )


def labels(values: dict[str, str], path: str) -> Errors:
    """Keys and values of labels."""
    for key, value in values.items():
        yield from qualified_name(key, f"{path}[{key}]")
        if len(value) > 63 or (value and not _QUALIFIED.fullmatch(value)):
            yield invalid(
                f"{path}[{key}]",
                f"expected at most 63 letters, digits and inner -, _ and ., found {describe(value)}",
            )


def port_name(value: str, path: str) -> Errors:
    """RFC 6335 service name: at most 15 lower-case letters, digits and single hyphens, one letter among them."""
    right = (
        len(value) <= 15 and _PORT_NAME.fullmatch(value) and "--" not in value and re.search("[a-z]", value)
    )
    if not right:
        yield invalid(
            path, f"expected at most 15 of a-z, 0-9 and inner -, with a letter, found {describe(value)}"
        )


def variable_name(value: str, path: str) -> Errors:
    """The name of an environment variable."""
    if not _VARIABLE.fullmatch(value):
        yield invalid(path, f"expected printable characters without =, found {describe(value)}")


def data_key(value: str, path: str) -> Errors:
    """A key of a ConfigMap or Secret, which becomes a file name."""
    if len(value) > 253 or not _KEY.fullmatch(value) or value in {".", ".."}:
        yield invalid(path, f"expected letters, digits, -, _ and ., found {describe(value)}")


def port_number(value: int, path: str) -> Errors:
    """1 to 65535."""
    if not 1 <= value <= 65535:
        yield invalid(path, f"expected a port from 1 to 65535, found {value}")


def port_reference(value: int | str, path: str) -> Errors:
    """A port by number or by name."""
    if isinstance(value, int):
        yield from port_number(value, path)
    elif value.isdecimal():
        yield invalid(path, f'a port number must not be in quotes: write {value} instead of "{value}"')
    else:
        yield from port_name(value, path)


def ip_address(value: str, path: str) -> Errors:
    """IPv4 or IPv6."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        yield invalid(path, f"expected an IP address, found {describe(value)}")


def ip_block(value: str, path: str) -> Errors:
    """An address, or a network as ADDRESS/BITS."""
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        yield invalid(path, f"expected an address or a network such as 10.1.0.0/16, found {describe(value)}")


def host_name(value: str, path: str, *, wildcard: bool = True) -> Errors:
    """A DNS name, with `*` in place of its first label if `wildcard`."""
    rest = value
    if wildcard and value.startswith("*"):
        rest = value[1:].removeprefix(".")
        if not rest and value == "*":
            return
    name_labels = rest.rstrip(".").split(".")
    if len(value) > 253 or not all(
        len(label) <= 63 and _HOST_LABEL.fullmatch(label) for label in name_labels
    ):
        star = ", perhaps *.DOMAIN" if wildcard else ""
        yield invalid(path, f"expected a DNS name{star}, found {describe(value)}")


def pattern(value: str, path: str) -> Errors:
    """A regular expression in RE2's syntax, which has no look-around and no back-references."""
    found = _BEYOND_RE2.search(value)
    if found:
        yield invalid(path, f"RE2 has no {found.group()}: write the pattern without it")
        return
    try:
        re.compile(value)
    except re.error as error:
        yield invalid(path, f"is no regular expression: {error}")


def duration(value: str | None, path: str, *, least: float = 0.0) -> Errors:
    """A duration of at least `least` seconds, if there is one."""
    if value is None:
        return
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        yield invalid(path, str(error))
        return
    if seconds < least:
        yield invalid(path, f"expected at least {least:g} s, found {describe(value)}")


def quantities(values: dict[str, int | float | str], path: str) -> Errors:
    """Amounts of resources, none of them negative."""
    for name, value in values.items():
        try:
            if parse_quantity(value) < 0:
                yield invalid(f"{path}[{name}]", f"expected at least 0, found {describe(value)}")
        except ValueError as error:
            yield invalid(f"{path}[{name}]", str(error))


def unique(names: Iterator[tuple[str, str]] | list[tuple[str, str]], noun: str) -> Errors:
    """`(name, path)` pairs whose names must differ."""
    seen: dict[str, str] = {}
    for name, path in names:
        if name in seen:
            yield duplicate(path, f'the {noun} "{name}" is already at {seen[name]}: give it another name')
        else:
            seen[name] = path
