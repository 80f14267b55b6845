"""Kubernetes quantities: `500m`, `1.5`, `1Gi`, `1e3`."""

import re
from decimal import Decimal

QUANTITY = re.compile(
    r"(?=.{1,64}$)([+-]?(?:\d+(?:\.\d*)?|\.\d+))(m|u|n|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d{1,3})?"
)

LARGEST = 2**63 - 1
"""Of either sign; also of what a quantity is counted in, bytes for one."""

_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL = {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)}
_SMALL = {"m": Decimal("1e-3"), "u": Decimal("1e-6"), "n": Decimal("1e-9"), "": Decimal(1)}
_FACTORS = {**_BINARY, **_DECIMAL, **_SMALL}


def parse_quantity(text: str | int | float) -> Decimal:
    """The amount in whole units.

    Raises:
        ValueError: `text` is no quantity, or beyond `LARGEST`.
    """
    found = QUANTITY.fullmatch(str(text))
    if found is None:
        raise ValueError(f"expected a quantity such as 500m or 1Gi, found {str(text)[:60]!r}")
    number, suffix = found.group(1), found.group(2) or ""
    if suffix[:1] in {"e", "E"} and suffix not in {"E", "Ei"}:
        amount = Decimal(f"{number}{suffix}")
    else:
        amount = Decimal(number) * _FACTORS[suffix]
    if abs(amount) > LARGEST:
        raise ValueError(f"expected a quantity of at most {LARGEST}, found {str(text)[:60]!r}")
    return amount
