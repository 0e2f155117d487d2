import dataclasses

import pytest

from minigpt.corpus.qa import QAPair
from minigpt.evaluation.answers import Said
from minigpt.evaluation.memory import Memory
from minigpt.evaluation.rows import Row, build_rows, with_answer, with_memory


def row_of(pair: QAPair, said: str, *, ended: bool = True) -> Row:
    (row,) = build_rows([pair], [1.5])
    return with_answer(row, Said(said, ended))


def test_a_row_holds_what_the_data_says() -> None:
    (row,) = build_rows([QAPair("问", "答", "题", ("答", "是"))], [1.5])
    assert (row.question, row.expected, row.topic, row.loss_answer) == ("问", "答", "题", 1.5)
    assert (row.accepted, row.references) == (("答", "是"), ("答", "是"))
    assert not row.is_right


def test_what_was_not_measured_is_none() -> None:
    (row,) = build_rows([QAPair("问", "答")], [1.5])
    measured = {"question", "expected", "accepted", "topic", "loss_answer"}
    values = dataclasses.asdict(row)
    assert {name for name, value in values.items() if value is not None} == measured
    assert row.references == ("答",)


def test_every_score_takes_the_nearest_accepted_answer() -> None:
    row = row_of(QAPair("问", "北京市", answers=("北京市", "北平", "京")), "北平")
    assert (row.exact_match, row.character_f1, row.rouge_l) == (1, 1, 1)
    assert (row.cmrc_exact_match, row.cmrc_f1, row.accuracy) == (1, 1, 1)


def test_an_answer_that_contains_an_accepted_one_is_right() -> None:
    row = row_of(QAPair("问", "京", answers=("京",)), "是北京。")
    assert (row.accuracy, row.exact_match) == (1, 0)
    assert row.is_right


def test_without_accepted_answers_only_the_expected_one_is_right() -> None:
    assert row_of(QAPair("问", "北京"), "北京").is_right
    near = row_of(QAPair("问", "北京"), "是北京")
    assert (near.accuracy, near.is_right) == (None, False)
    assert near.character_f1 == pytest.approx(4 / 5)


def test_loops_and_cuts_are_noticed() -> None:
    row = row_of(QAPair("问", "答"), "我也不知道" * 4, ended=False)
    assert row.loops
    assert row.ended_by_itself is False
    assert row.repeated is not None
    assert row.repeated > 0.5


def test_an_empty_answer_scores_nothing() -> None:
    row = row_of(QAPair("问", "答"), "")
    assert (row.exact_match, row.character_f1, row.rouge_l, row.repeated) == (0, 0, 0, 0)
    assert not row.loops


def test_memory_adds_what_the_training_data_holds() -> None:
    memory = Memory([QAPair("天空是什么颜色？", "蓝色"), QAPair("草呢？", "绿色")])
    rows = [row_of(QAPair("天空是什么颜色？", "蓝色"), "绿色"), row_of(QAPair("海", "蓝"), "蓝")]
    same, new = with_memory(rows, memory)
    assert (same.memorised, same.in_training, same.is_near) == (True, True, True)
    assert (same.nearest_training_question, same.similarity) == ("天空是什么颜色？", 1.0)
    assert (new.memorised, new.in_training, new.is_near) == (False, False, False)


def test_without_an_answer_nothing_is_memorised_or_not() -> None:
    (row,) = with_memory(build_rows([QAPair("问", "答")], [1.0]), Memory([QAPair("问", "答")]))
    assert (row.memorised, row.in_training) == (None, True)
