import math

import numpy as np
import pytest

from minigpt.corpus.qa import QAPair
from minigpt.evaluation.bootstrap import mean_interval, ratio_interval
from minigpt.evaluation.figures import FIGURES
from minigpt.evaluation.memory import Memory
from minigpt.evaluation.overlap import bleu4, chrf
from tests.evaluation.examples import measured

PAIRS = [QAPair(f"第{n}个问题", "答" * (n % 4 + 1)) for n in range(40)]
SAID = ["答答" if n % 3 else "问" for n in range(40)]
SEED = 7


def test_the_losses_are_the_hand_worked_numbers() -> None:
    # targets of the answers: 2 + 3; costs 1 and 2 nats each
    found = measured([QAPair("问", "答"), QAPair("问问", "答答")], nats=[1, 2]).tally.figures()
    assert found["loss_answer"] == pytest.approx((2 * 1 + 3 * 2) / 5)
    assert found["perplexity_answer"] == pytest.approx(math.exp(8 / 5))
    assert found["bits_per_character_answer"] == pytest.approx(8 / math.log(2) / 3)
    assert found["bits_per_byte_answer"] == pytest.approx(8 / math.log(2) / 9)
    assert found["token_accuracy_answer"] == pytest.approx(2 / 5)  # every second pair is right
    assert found["loss_all"] == pytest.approx((3 * 1 + 5 * 2) / 8)
    assert found["bits_per_character_all"] == pytest.approx(13 / math.log(2) / 4)  # 1 + 0, 2 + 1
    assert found["unknown_share"] == 0


def test_the_loss_of_a_worse_than_hopeless_model_is_still_a_number() -> None:
    found = measured(PAIRS, nats=1e6).tally.figures()
    assert math.isfinite(found["perplexity_answer"])


def test_what_was_not_measured_has_no_figure() -> None:
    found = measured(PAIRS).tally.figures()
    assert {"exact_match", "chrf", "accuracy", "memorised", "length_ratio"}.isdisjoint(found)
    answered = measured(PAIRS, SAID).tally.figures()
    assert {"accuracy", "memorised", "in_training"}.isdisjoint(answered)
    remembered = measured(PAIRS, SAID, memory=Memory(PAIRS)).tally.figures()
    assert {"memorised", "in_training"} <= remembered.keys()
    assert list(remembered) == [name for name in FIGURES if name in remembered]


def test_scores_of_answers_are_means_over_pairs() -> None:
    tally = measured(PAIRS, SAID).tally
    found = tally.figures()
    assert found["exact_match"] == pytest.approx(
        sum(a == pair.answer for a, pair in zip(SAID, PAIRS, strict=True)) / 40
    )
    references = [[pair.answer] for pair in PAIRS]
    assert found["chrf"] == pytest.approx(chrf(SAID, references))
    assert found["bleu4"] == pytest.approx(bleu4(SAID, references))
    assert found["length_ratio"] == pytest.approx(
        sum(map(len, SAID)) / sum(len(pair.answer) for pair in PAIRS)
    )
    assert found["ended_by_itself"] == 1
    assert found["cut_by_limit"] == 0


def test_accuracy_is_over_the_pairs_that_name_accepted_answers() -> None:
    pairs = [QAPair("一", "甲", answers=("甲",)), QAPair("二", "乙", answers=("乙",)), PAIRS[0]]
    assert measured(pairs, ["是甲。", "丙", "丁"]).tally.figures()["accuracy"] == 0.5


def test_the_figures_of_some_pairs_are_those_of_them_alone() -> None:
    rows = np.array([3, 5, 21])
    some = measured(PAIRS, SAID, nats=np.linspace(1, 3, 40).tolist()).tally.figures(rows)
    alone = measured(
        [PAIRS[i] for i in rows],
        [SAID[i] for i in rows],
        nats=np.linspace(1, 3, 40)[rows].tolist(),
    ).tally.figures()
    alone["token_accuracy_answer"] = some["token_accuracy_answer"]  # right is every second pair
    alone["token_accuracy_all"] = some["token_accuracy_all"]
    assert some == pytest.approx(alone)


def test_intervals_are_those_of_the_figures_one_by_one() -> None:
    tally = measured(PAIRS, SAID, nats=np.linspace(1, 3, 40).tolist()).tally
    found, columns = tally.intervals(seed=SEED), tally.columns
    loss = ratio_interval(columns["nats_answer"], columns["tokens_answer"], seed=SEED)
    exact = mean_interval(columns["exact_match"], seed=SEED)
    for name, one in (("loss_answer", loss), ("exact_match", exact)):
        # Drawn from other places: alike, not equal.
        assert found[name].low == pytest.approx(one.low, abs=0.1)
        assert found[name].high == pytest.approx(one.high, abs=0.1)
    figures = tally.figures()
    for name, interval in found.items():
        assert interval.low <= figures[name] <= interval.high, name


def test_perplexity_is_e_to_the_loss_at_the_ends_of_the_interval_too() -> None:
    found = measured(PAIRS, nats=np.linspace(1, 3, 40).tolist()).tally.intervals(seed=SEED)
    assert found["perplexity_answer"].low == pytest.approx(math.exp(found["loss_answer"].low))


def test_the_same_seed_gives_the_same_intervals() -> None:
    tally = measured(PAIRS, SAID, nats=np.linspace(1, 3, 40).tolist()).tally
    assert tally.intervals(seed=1) == tally.intervals(seed=1)
    assert tally.intervals(seed=1) != tally.intervals(seed=2)


def test_a_share_of_none_or_all_is_not_told_with_certainty() -> None:
    never = measured(PAIRS, ["无"] * 40).tally.intervals(seed=SEED)["exact_match"]
    always = measured(PAIRS, [pair.answer for pair in PAIRS]).tally.intervals(seed=SEED)
    assert [never.low, never.high] == pytest.approx([0, 3 / 40])
    assert [always["exact_match"].low, always["exact_match"].high] == pytest.approx([37 / 40, 1])


def test_too_few_pairs_have_no_interval() -> None:
    found = measured(PAIRS[:9], SAID[:9]).tally.intervals(seed=SEED)
    assert all(math.isnan(interval.low) for interval in found.values())
    assert not math.isnan(measured(PAIRS[:10]).tally.intervals(seed=SEED)["loss_all"].low)


@pytest.mark.parametrize("said", ["", " ", "乙"])
def test_one_pair_and_hardly_an_answer_give_numbers(said: str) -> None:
    found = measured([QAPair("甲", "乙")], [said]).tally.figures()
    assert all(math.isfinite(value) for value in found.values())
    assert found["empty"] == (not said.strip())
