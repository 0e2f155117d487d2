import math

import pytest

from minigpt.evaluation.figures import FIGURES, GROUPS, Figure, nearest_figure

EACH = pytest.mark.parametrize("figure", FIGURES.values(), ids=list(FIGURES))


@EACH
def test_every_figure_has_a_group_and_one_line_that_explains_it(figure: Figure) -> None:
    assert figure.group in GROUPS
    assert 20 <= len(figure.meaning) <= 90
    assert "\n" not in figure.meaning
    assert not figure.meaning.endswith(".")


@EACH
def test_nothing_is_as_good_as_what_is_not_a_number(figure: Figure) -> None:
    assert not figure.reaches(math.nan, 0.0)
    assert figure.reaches(0.5, 0.5)
    assert figure.reaches(1.0, 0.5) is figure.higher
    assert figure.reaches(0.0, 0.5) is not figure.higher


@EACH
def test_what_is_not_a_number_is_shown_as_nothing(figure: Figure) -> None:
    assert figure.shown(math.nan) == "-"


def test_no_two_figures_of_a_group_have_one_meaning() -> None:
    meanings = [(figure.group, figure.meaning) for figure in FIGURES.values()]
    assert len(set(meanings)) == len(meanings)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("exact_match", 0.12345, "12.3%"),
        ("loss_answer", 5.17259, "5.173"),
        ("perplexity_answer", 12345.6, "12,345.6"),
        ("questions_per_s", 1234.5, "1,234"),
        ("questions_per_s", 0.8, "0.80"),
        ("time_to_first_s", 0.0123, "12.3 ms"),
    ],
)
def test_values_are_written_as_people_read_them(name: str, value: float, shown: str) -> None:
    assert FIGURES[name].shown(value) == shown


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("f1", "figures: "),
        ("exact", "exact_match"),
        ("loss", "loss_all"),
        ("character_F1", "character_f1"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    assert nearest in nearest_figure(name)
