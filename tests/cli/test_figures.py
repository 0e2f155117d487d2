import dataclasses
from pathlib import Path

import pytest
from rich.cells import cell_len

from minigpt.cli.figures import HEADLINE, lines_of_figures
from minigpt.corpus.qa import QAPair
from minigpt.evaluation.figures import FIGURES
from minigpt.evaluation.memory import Memory
from minigpt.evaluation.result import EvalResult
from tests.evaluation.examples import measured, result_of

PAIRS = [QAPair(f"第{n}座山有多高？", f"{n * 100}米", topic="地理") for n in range(40)]
SAID = [pair.answer if n % 2 else "不知道" for n, pair in enumerate(PAIRS)]
TRAINED = Memory([PAIRS[1], QAPair("你好", "你好！"), QAPair("再见", "你好！")])


def result() -> EvalResult:
    return result_of(measured(PAIRS, SAID, memory=TRAINED), TRAINED)


def shown(found: EvalResult, width: int | None = None) -> list[str]:
    return [line.plain for line in lines_of_figures(found, width=width)]


def test_the_headline_stands_there_with_interval_guess_and_meaning() -> None:
    found, lines = result(), shown(result())
    for name in HEADLINE:
        if name in found.metrics:
            line = next(each for each in lines if each.startswith(f"  {FIGURES[name].label} "))
            assert FIGURES[name].shown(found.metrics[name]) in line
            assert FIGURES[name].span(found.intervals[name]) in line
            assert line.endswith(FIGURES[name].meaning)
    exact = next(each for each in lines if each.startswith("  exact match"))
    assert " 0.0% " in exact  # of always saying 你好！


def test_all_of_it_fits_a_terminal_of_80_by_24() -> None:
    lines = shown(dataclasses.replace(result(), remarks=()), width=80)
    assert max(map(cell_len, lines[: lines.index("", 2)])) <= 80
    rows = sum(max(1, -(-cell_len(line) // 80)) for line in lines)
    assert rows <= 24


def test_words_stay_whole_on_a_terminal() -> None:
    remark = "word " * 50
    found = dataclasses.replace(result(), remarks=(remark,))
    lines = [line for line in shown(found, width=71) if "word" in line]
    assert len(lines) > 1
    assert all(line == "  " + "word " * 13 + "word" for line in lines[:-1])
    assert "  " + remark in shown(found)


def test_only_guesses_that_were_made_are_explained() -> None:
    assert any("the most frequent answer" in line for line in shown(result()))
    alone = shown(result_of(measured(PAIRS, memory=TRAINED), TRAINED))
    assert "  guess: each token by its frequency" in alone


def test_what_quantised_weights_cost_is_shown() -> None:
    found = result()
    costly = dataclasses.replace(found, metrics={**found.metrics, "quantization_loss": 0.0123})
    line = "  quantised weights: +0.0123 nats of loss on answers, next to the full ones"
    assert line in shown(costly)
    assert not any("quantised" in line for line in shown(found))


def test_a_wide_terminal_has_room_for_the_meanings() -> None:
    meaning = FIGURES["loss_answer"].meaning
    assert any(meaning in line for line in shown(result(), width=200))
    assert not any(meaning in line for line in shown(result(), width=80))


def test_samples_are_cut_to_the_terminal_but_not_in_a_pipe() -> None:
    pairs = [QAPair("问" * 100, "答")] * 12
    found = result_of(measured(pairs, ["长" * 100] * 12))
    assert max(map(cell_len, shown(found, width=60)[-7:-1])) <= 60
    assert any("长" * 100 in line for line in shown(found))


@pytest.mark.parametrize("said", [None, ["\x1b[2J\u202e"] * 40])
def test_text_from_data_or_model_cannot_steer_the_terminal(said: list[str] | None) -> None:
    pairs = [QAPair(f"\x1b]0;{n}\x07", "\x9b31m\r", topic="\x1b[2J") for n in range(40)]
    memory = Memory([QAPair("\x1b[2J", "\x1b[2J")])
    for line in shown(result_of(measured(pairs, said, memory=memory), memory)):
        assert line.isprintable()


def test_the_report_is_named_where_there_is_none() -> None:
    assert "--report" in shown(result())[-1]
    assert "--report" not in shown(dataclasses.replace(result(), report=Path("r.md")))[-1]


def test_one_pair_without_an_answer_is_shown() -> None:
    lines = shown(result_of(measured(PAIRS[:1], [""])), width=80)
    assert any("(nothing)" in line for line in lines)
    assert lines[0].startswith("1 pair ")
