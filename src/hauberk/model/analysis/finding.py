"""One thing that is wrong, where it is, and how to mend it."""

from dataclasses import dataclass

from hauberk.model.analysis.catalogue import CATALOGUE, Entry, Severity


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; line and column count from 1, and are 0 where there is none."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. The code says what sort of thing; the catalogue explains it."""

    code: str
    place: Place
    message: str
    subject: str = ""
    """The object, as `Service bank/web`."""
    field: str = ""

    @property
    def entry(self) -> Entry:
        """The catalogue's entry."""
        return CATALOGUE[self.code]

    @property
    def severity(self) -> Severity:
        """Error or warning."""
        return self.entry.severity

    def render(self) -> str:
        """`web.yaml:12:5: error HBK0101 Service bank/web: …`, and the remedy on a line of its own."""
        place = f"{self.place}: " if str(self.place) else ""
        subject = f"{self.subject}{f' {self.field}' if self.field else ''}: " if self.subject else ""
        remedy = f"\n    {self.entry.remedy}" if self.entry.remedy else ""
        return f"{place}{self.severity} {self.code} {subject}{self.message}{remedy}"
