import pytest

from minigpt.corpus.qa import QAPair
from minigpt.evaluation.samples import choose_samples
from tests.evaluation.examples import measured

PAIRS = [QAPair(f"问{n}", "甲乙丙丁") for n in range(4)]
ROWS = measured(PAIRS, ["甲", "甲乙丙丁", "戊", "甲乙丙丁"], nats=[1, 2, 3, 4]).rows


def test_the_worst_stand_first_and_the_best_last() -> None:
    found = choose_samples(ROWS, 2, seed=0)
    assert [row.question for row in found.worst] == ["问2", "问0"]
    assert [row.question for row in found.best] == ["问1", "问3"]  # the less surprising first


def test_without_answers_the_most_surprising_are_the_worst() -> None:
    found = choose_samples(measured(PAIRS, nats=[1, 4, 3, 2]).rows, 2, seed=0)
    assert [row.question for row in found.worst] == ["问1", "问2"]
    assert [row.question for row in found.best] == ["问0", "问3"]


def test_random_ones_are_drawn_with_the_seed_in_the_order_of_the_file() -> None:
    rows = measured([QAPair(f"问{n:02}", "答") for n in range(50)], ["答"] * 50).rows
    first, again, other = (choose_samples(rows, 5, seed=seed).random for seed in (1, 1, 2))
    assert first == again != other
    assert [row.question for row in first] == sorted(row.question for row in first)


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (3, 3), (99, 4)])
def test_there_are_as_many_as_wanted_if_there_are(count: int, shown: int) -> None:
    found = choose_samples(ROWS, count, seed=0)
    assert (len(found.worst), len(found.random), len(found.best)) == (shown, shown, shown)
