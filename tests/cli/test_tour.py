from pathlib import Path

import pytest

from hauberk.cli.tour import MalformedTourError, read_tour

BANK = Path(__file__).parents[2] / "examples" / "bank"


def test_the_bank_has_a_tour_with_an_allowed_and_a_refused_call() -> None:
    tour = read_tour(BANK)
    assert tour is not None
    assert {question.verdict for question in tour.why} == {"allow", "deny"}
    assert all(drive.repeat > 0 for drive in tour.requests)


def test_a_directory_without_a_tour_has_none(tmp_path: Path) -> None:
    assert read_tour(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gateway: [", "tour.yaml"),
        ("requests: []", "gateway"),
        ("gateway: a/b\nrequests: [{say: x, path: /, host: h, repeat: many}]", "repeat"),
        ("gateway: a/b\nsurprise: 1", "surprise"),
    ],
)
def test_a_malformed_tour_is_refused_with_the_field(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "tour.yaml").write_text(text)
    with pytest.raises(MalformedTourError, match=complaint):
        read_tour(tmp_path)
