"""What a write may ask for beside the object."""

from dataclasses import dataclass, field
from typing import Literal

FieldValidation = Literal["Strict", "Warn", "Ignore"]


@dataclass(slots=True)
class Options:
    """The query parameters of a write; `warnings` collects what the answer's Warning headers say."""

    dry_run: bool = False
    field_validation: FieldValidation = "Warn"
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class DeleteOptions(Options):
    """`metav1.DeleteOptions`."""

    propagation: str = "Background"
    uid: str = ""
    resource_version: str = ""
    grace_period_seconds: int | None = None
