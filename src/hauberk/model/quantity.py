"""Kubernetes quantities: `500m`, `1.5`, `1Gi`, `1e3`."""

import re
from decimal import Decimal

QUANTITY = re.compile(
    r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(m|u|n|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d{1,3})?"
)

_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL = {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)}
_SMALL = {"m": Decimal("1e-3"), "u": Decimal("1e-6"), "n": Decimal("1e-9"), "": Decimal(1)}
_FACTORS = {**_BINARY, **_DECIMAL, **_SMALL}


def parse_quantity(text: str | int | float) -> Decimal:
    """The amount in whole units.

    Raises:
        ValueError: `text` is no quantity.
    """
    found = QUANTITY.fullmatch(str(text))
    if found is None:
        raise ValueError(f'expected a quantity such as 500m or 1Gi, found "{text}"')
    number, suffix = found.group(1), found.group(2) or ""
    if suffix[:1] in {"e", "E"} and suffix not in {"E", "Ei"}:
        return Decimal(f"{number}{suffix}")
    return Decimal(number) * _FACTORS[suffix]
