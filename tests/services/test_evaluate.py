import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt.corpus.vocab import Vocab
from minigpt.errors import (
    CheckpointError,
    DataError,
    MiniGPTError,
    OutputError,
    SettingsError,
    ThresholdError,
)
from minigpt.evaluation.figures import FIGURES
from minigpt.evaluation.result import EvalResult
from minigpt.evaluation.rows import Row
from minigpt.events import Event, Note, Progress, Warned
from minigpt.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.services.evaluate import evaluate
from minigpt.services.train import train
from tests.services.tiny import (
    PAIRS,
    Finished,
    contents,
    metrics,
    texts,
    tiny_settings,
    write_lines,
    write_pairs,
)


@pytest.fixture(scope="session")
def memorised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that answers 一二 to 甲, 三四 to 乙 and 五六 to 丙."""
    root = tmp_path_factory.mktemp("memorised")
    pairs = [("甲", "一二"), ("乙", "三四"), ("丙", "五六")]
    write_pairs(root / "data.jsonl", pairs)
    for name in ("train.jsonl", "val.jsonl"):
        write_pairs(root / name, pairs)
    train(
        tiny_settings(
            root, train__epochs=80, train__learning_rate=0.03, train__batch_size=3, model__dropout=0
        )
    )
    return root / "output"


def measure(root: Path, file: str = "val.jsonl", **changes: Any) -> EvalResult:
    return evaluate(tiny_settings(root, **changes), file=root / file)


def without_clock(result: EvalResult) -> dict[str, float]:
    return {name: each for name, each in result.metrics.items() if not name.endswith("_s")}


def rows(result: EvalResult) -> list[Row]:
    """Every row in the order of the file, where there are as many samples as pairs."""
    assert len(result.samples.random) == result.pairs
    return list(result.samples.random)


def test_the_losses_are_those_that_training_reported(finished: Finished) -> None:
    result = evaluate(finished.settings)
    best = min(metrics(finished.run_dir), key=lambda row: row["val_loss"])
    assert result.file == finished.settings.data.val
    assert result.pairs == 3
    assert result.metrics["loss_all"] == pytest.approx(best["val_loss"])
    assert result.metrics["loss_answer"] == pytest.approx(best["val_loss_answer"])
    assert result.metrics["token_accuracy_all"] == pytest.approx(best["val_accuracy"])


def test_perplexity_and_bits_are_the_loss_in_other_units(finished: Finished) -> None:
    result = evaluate(finished.settings, file=finished.root / "train.jsonl")
    found = result.metrics
    lines = (finished.root / "train.jsonl").read_text("utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    targets = sum(len(answer) + 1 for answer in answers)
    nats = found["loss_answer"] * targets
    assert found["perplexity_answer"] == pytest.approx(math.exp(found["loss_answer"]))
    assert found["bits_per_character_answer"] == pytest.approx(
        nats / math.log(2) / sum(map(len, answers))
    )
    texts = [json.loads(line)["question"] + json.loads(line)["answer"] for line in lines]
    predicted = sum(len(text) - 1 for text in texts)  # nothing stands before the first character
    nats = found["loss_all"] * sum(len(text) + 1 for text in texts)
    assert found["bits_per_character_all"] == pytest.approx(nats / math.log(2) / predicted)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_figures_do_not_depend_on_the_batch_size(finished: Finished, batch_size: int) -> None:
    whole, parts = (
        measure(finished.root, "data.jsonl", eval__batch_size=size, eval__samples=30)
        for size in (30, batch_size)
    )
    # Products of another shape add up in another order: losses differ in the last bits of float32.
    # Shares are equal as long as no two tokens are so nearly as likely that this changes their
    # order; none are here.
    assert without_clock(parts) == pytest.approx(without_clock(whole), rel=1e-5)
    for name, value in without_clock(whole).items():
        if FIGURES[name].form == "share":
            assert parts.metrics[name] == value, name
    assert [row.answer for row in rows(parts)] == [row.answer for row in rows(whole)]


def test_an_evaluation_repeats(finished: Finished) -> None:
    first, second = (measure(finished.root, "data.jsonl") for _ in range(2))
    assert without_clock(first) == without_clock(second)


def test_a_limit_draws_a_seeded_sample_and_says_so(finished: Finished) -> None:
    events: list[Event] = []
    settings = tiny_settings(finished.root, eval__limit=10, eval__samples=10)
    result = evaluate(settings, file=finished.root / "data.jsonl", report=events.append)
    again = measure(finished.root, "data.jsonl", eval__limit=10, eval__samples=10)
    other = measure(finished.root, "data.jsonl", eval__limit=10, eval__samples=10, eval__seed=1)
    assert result.pairs == 10
    assert "a sample of 10 of 30 pairs, drawn with seed 42" in texts(events, Note)
    assert result.samples == again.samples
    asked = [[row.question for row in rows(each)] for each in (result, other)]
    assert asked[0] != asked[1]
    order = [question for question, _ in PAIRS]
    assert asked[0] == sorted(asked[0], key=order.index)


def test_a_limit_over_the_number_of_pairs_measures_all(finished: Finished) -> None:
    events: list[Event] = []
    settings = tiny_settings(finished.root, eval__limit=30)
    result = evaluate(settings, file=finished.root / "data.jsonl", report=events.append)
    assert result.pairs == 30
    assert texts(events, Note) == ""


def test_no_answers_are_generated_where_none_are_wanted(finished: Finished) -> None:
    result = measure(finished.root, eval__generate=False)
    assert {row.answer for row in result.samples.random} == {None}
    assert {"exact_match", "character_f1", "questions_per_s"}.isdisjoint(result.metrics)
    assert "common answer" not in result.baselines
    assert result.metrics["loss_all"] > 0


def test_a_model_that_knows_the_answers_scores_full(memorised: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "exam.jsonl", [("甲", "一二"), ("乙", "三四"), ("丙", "五六")])
    result = measure(tmp_path, "exam.jsonl", eval__checkpoint=memorised)
    for name in ("exact_match", "character_f1", "ended_by_itself", "token_accuracy_answer"):
        assert result.metrics[name] == 1, name
    assert result.metrics["empty"] == 0
    assert "accuracy" not in result.metrics
    assert "topic" not in result.breakdowns


def test_partly_right_answers_are_scored_by_hand_worked_numbers(
    memorised: Path, tmp_path: Path
) -> None:
    # said: 一二 三四 五六; F1: 1, 2*1/(2+2), 2*1/(2+1)
    write_pairs(tmp_path / "exam.jsonl", [("甲", "一二"), ("乙", "三一"), ("丙", "五")])
    result = measure(tmp_path, "exam.jsonl", eval__checkpoint=memorised)
    assert result.metrics["exact_match"] == pytest.approx(1 / 3)
    assert result.metrics["character_f1"] == pytest.approx((1 + 1 / 2 + 2 / 3) / 3)


def test_accepted_answers_are_scored_by_containment_and_topic(
    memorised: Path, tmp_path: Path
) -> None:
    exam: list[dict[str, Any]] = [
        {"question": "甲", "answers": ["零", "二"], "topic": "数"},  # says 一二
        {"question": "乙", "answers": ["二"], "topic": "数"},  # says 三四
        {"question": "丙", "answers": ["五六"], "topic": "字"},
        {"question": "甲", "answer": "一二", "topic": "别"},  # names no accepted answer
    ]
    write_lines(tmp_path / "exam.jsonl", exam)
    result = measure(tmp_path, "exam.jsonl", eval__checkpoint=memorised, eval__samples=4)
    assert [row.accuracy for row in rows(result)] == [1, 0, 1, None]
    assert result.metrics["accuracy"] == pytest.approx(2 / 3)
    topics = {each.label: each.metrics for each in result.breakdowns["topic"].buckets}
    assert {topic: found.get("accuracy") for topic, found in topics.items()} == {
        "字": 1.0,
        "数": 0.5,
        "别": None,
    }
    assert topics["别"]["character_f1"] == 1
    assert result.metrics["exact_match"] == pytest.approx(2 / 4)
    assert [row.character_f1 for row in rows(result)] == pytest.approx([2 / 3, 0, 1, 1])
    assert "accepted words" in " ".join(result.remarks)


def test_the_baselines_are_those_of_a_guess(finished: Finished) -> None:
    result = evaluate(finished.settings)
    vocab_size = load_checkpoint(finished.run_dir).vocab.size
    uniform, frequency = (result.baselines[name].metrics for name in ("uniform", "frequency"))
    assert uniform["loss_all"] == pytest.approx(math.log(vocab_size))
    for name in ("loss_all", "loss_answer"):
        assert 0 < frequency[name] < uniform[name]
    common = result.baselines["common answer"].metrics
    assert 0 <= common["exact_match"] <= common["character_f1"] < 1


def test_a_uniform_model_costs_the_uniform_baseline(tmp_path: Path) -> None:
    path = save_flat_model(tmp_path, favourite=None)
    write_pairs(tmp_path / "exam.jsonl", [("甲乙", "丙"), ("丙", "甲甲甲")])
    result = measure(tmp_path, "exam.jsonl", eval__checkpoint=path)
    assert result.metrics["loss_all"] == pytest.approx(math.log(6))
    assert result.metrics["loss_answer"] == pytest.approx(math.log(6))
    assert result.metrics["perplexity_all"] == pytest.approx(6)
    (uniform,) = result.baselines.values()
    for name, value in uniform.metrics.items():
        if "accuracy" not in name:  # of equals the model takes the first, the baseline any
            assert result.metrics[name] == pytest.approx(value, rel=1e-6), name


def save_flat_model(root: Path, *, favourite: int | None) -> Path:
    """A model to which all tokens are equally likely, or that always prefers one."""
    vocab = Vocab(("<pad>", "<unk>", "<sep>", "甲", "乙", "丙"))
    model = GPT(GPTConfig(vocab_size=6, block_size=32, n_layer=1, n_head=1, n_embd=4, dropout=0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        if favourite is not None:
            model.transformer.ln_f.bias[0] = 1
            model.transformer.wte.weight[favourite, 0] = 9
    path = root / "flat.safetensors"
    save_checkpoint(path, model, vocab, CheckpointInfo(step=0, epoch=1, max_length=16))
    return path


def test_a_model_that_says_nothing_is_measured_as_such(tmp_path: Path) -> None:
    path = save_flat_model(tmp_path, favourite=2)
    write_pairs(tmp_path / "exam.jsonl", [("甲", "乙"), ("丙", "甲乙")])
    result = measure(tmp_path, "exam.jsonl", eval__checkpoint=path)
    assert [row.answer for row in rows(result)] == ["", ""]
    found = result.metrics
    assert (found["empty"], found["ended_by_itself"]) == (1, 1)
    assert (found["exact_match"], found["character_f1"]) == (0, 0)


def test_a_model_that_never_ends_is_cut_by_the_limit(tmp_path: Path) -> None:
    path = save_flat_model(tmp_path, favourite=4)
    write_pairs(tmp_path / "exam.jsonl", [("甲", "乙"), ("甲甲甲甲甲甲甲甲甲甲甲甲", "乙")])
    result = measure(tmp_path, "exam.jsonl", eval__checkpoint=path)
    assert [row.answer for row in rows(result)] == ["乙" * 8, "乙" * 3]  # the limit, 16 - 13
    assert result.metrics["ended_by_itself"] == 0
    assert result.metrics["cut_by_limit"] == 1


def test_pairs_over_the_longest_are_left_out_of_every_figure(
    finished: Finished, root: Path
) -> None:
    write_pairs(root / "long.jsonl", [("很" * 40, "长"), *PAIRS[:3], ("长", "很" * 40)])
    write_pairs(root / "short.jsonl", PAIRS[:3])
    events: list[Event] = []
    settings = tiny_settings(root, eval__checkpoint=finished.run_dir)
    long = evaluate(settings, file=root / "long.jsonl", report=events.append)
    short = evaluate(settings, file=root / "short.jsonl")
    assert (long.pairs, long.left_out) == (3, 2)
    assert (short.pairs, short.left_out) == (3, 0)
    shares = {"too_long_share": 2 / 5}
    assert without_clock(long) == without_clock(short) | shares
    assert long.samples == short.samples
    assert "2 of 5 pairs are longer than the 32 tokens" in texts(events, Warned)


def test_data_of_which_no_pair_fits_is_an_error(finished: Finished, root: Path) -> None:
    write_pairs(root / "long.jsonl", [("很" * 40, "长")])
    with pytest.raises(DataError, match="every pair is longer than the 32 tokens"):
        measure(root, "long.jsonl", eval__checkpoint=finished.run_dir)


def test_one_pair_is_enough(finished: Finished, root: Path) -> None:
    write_pairs(root / "one.jsonl", PAIRS[:1])
    result = measure(root, "one.jsonl", eval__checkpoint=finished.run_dir)
    assert result.pairs == len(rows(result)) == 1
    assert result.intervals == {}
    assert result.verdict.label == "unclear"
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_characters_that_are_all_unknown_are_counted(finished: Finished, root: Path) -> None:
    write_pairs(root / "foreign.jsonl", [("abc", "de")])
    result = measure(root, "foreign.jsonl", eval__checkpoint=finished.run_dir)
    assert result.metrics["unknown_share"] == pytest.approx(5 / 7)  # the two <sep> are known
    assert "71.4% of the tokens are <unk>" in result.remarks[0]
    assert result.metrics["exact_match"] == 0
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_there_are_as_many_samples_as_wanted(finished: Finished) -> None:
    for wanted, shown in ((0, 0), (2, 2), (99, 30)):
        found = measure(finished.root, "data.jsonl", eval__samples=wanted).samples
        assert len(found.random) == len(found.worst) == len(found.best) == shown


def test_progress_reaches_its_end(finished: Finished) -> None:
    events: list[Event] = []
    evaluate(finished.settings, report=events.append)
    shown = [event for event in events if isinstance(event, Progress)]
    for task in ("score", "answer"):
        last = [event for event in shown if event.task == task][-1]
        assert last.done == last.total > 0


def test_a_threshold_that_is_reached_is_silent(finished: Finished) -> None:
    result = measure(finished.root, eval__fail_under=["loss_all=100", "exact_match=0"])
    assert result.pairs == 3


@pytest.mark.parametrize("threshold", ["loss_all=0.001", "length_ratio=1000", "perplexity_all=1"])
def test_a_threshold_that_is_not_reached_has_its_exit_code(
    finished: Finished, tmp_path: Path, threshold: str
) -> None:
    report = tmp_path / "report.json"
    with pytest.raises(ThresholdError, match=threshold.partition("=")[0]) as caught:
        measure(finished.root, eval__fail_under=[threshold], eval__report=str(report))
    assert caught.value.exit_code == 8
    assert json.loads(report.read_text("utf-8"))["metrics"]["loss_all"] > 0


def test_a_threshold_on_what_was_not_measured_is_a_settings_error(finished: Finished) -> None:
    events: list[Event] = []
    settings = tiny_settings(finished.root, eval__fail_under=["accuracy=0.5"])
    with pytest.raises(SettingsError, match="accuracy: cannot be measured"):
        evaluate(settings, report=events.append)
    assert not [event for event in events if isinstance(event, Progress)]


def test_a_malformed_threshold_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not of the form METRIC=X"):
        measure(tmp_path, "missing.jsonl", eval__fail_under=["exact_match"])


def test_a_json_report_holds_every_figure_and_every_answer(
    finished: Finished, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    result = measure(finished.root, "data.jsonl", eval__report=str(report), eval__samples=1)
    content = json.loads(report.read_text("utf-8"))
    assert result.report == report
    assert content["schema"] == 1
    assert content["metrics"] == result.metrics
    assert content["baselines"]["uniform"]["metrics"] == result.baselines["uniform"].metrics
    assert [row["question"] for row in content["rows"]] == [question for question, _ in PAIRS]
    facts, checkpoint = content["facts"], load_checkpoint(finished.run_dir)
    assert facts["settings"]["limit"] == 0
    assert facts["model"]["vocabulary sha256"] == checkpoint.vocab.sha256
    assert facts["model"]["checkpoint sha256, as it states"] == checkpoint.sha256 != ""
    assert facts["model"]["training ids sha256"] == checkpoint.info.data_sha256
    assert facts["data"]["pairs measured"] == 30
    assert facts["versions"]["torch"] == torch.__version__


def test_a_markdown_report_holds_every_figure_and_every_answer(
    memorised: Path, tmp_path: Path
) -> None:
    write_pairs(tmp_path / "exam.jsonl", [("甲", "一|二\n三"), ("乙", "<b>三四</b>")])
    report = tmp_path / "report.md"
    result = measure(tmp_path, "exam.jsonl", eval__checkpoint=memorised, eval__report=str(report))
    text = report.read_text("utf-8")
    for name, value in result.metrics.items():
        figure = FIGURES[name]
        assert f"| {figure.label} | {figure.shown(value)} |" in text
    assert r"| 甲 | 一二 | 一\|二 三 |" in text
    assert r"| 乙 | 三四 | \<b\>三四\</b\> | no | 0." in text


def test_a_report_with_other_content_needs_force(finished: Finished, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    report.write_text("mine", "utf-8")
    settings = tiny_settings(finished.root, eval__report=str(report), eval__generate=False)
    with pytest.raises(OutputError, match="exists with other content"):
        evaluate(settings)
    assert report.read_text("utf-8") == "mine"
    evaluate(settings, force=True)
    first = report.read_text("utf-8")
    assert first.startswith("# How good is ")


def test_a_report_that_would_replace_the_data_is_refused(finished: Finished, root: Path) -> None:
    data = write_pairs(root / "exam.json")
    before = data.read_bytes()
    settings = tiny_settings(root, eval__checkpoint=finished.run_dir, eval__report=str(data))
    with pytest.raises(SettingsError, match="replace what it is made from"):
        evaluate(settings, file=data, force=True)
    assert data.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"eval__checkpoint": "nowhere"}, CheckpointError),
        ({"data__val": "nowhere.jsonl"}, DataError),
    ],
)
def test_what_is_missing_is_an_error_and_leaves_no_report(
    finished: Finished, tmp_path: Path, change: dict[str, str], error: type[MiniGPTError]
) -> None:
    missing = {name: tmp_path / value for name, value in change.items()}
    report = tmp_path / "report.md"
    with pytest.raises(error, match="nowhere"):
        evaluate(tiny_settings(finished.root, eval__report=str(report), **missing))
    assert contents(tmp_path) == {}


def test_the_gap_is_that_of_the_training_data(finished: Finished) -> None:
    result = measure(finished.root, "val.jsonl")
    # three validation pairs: three training pairs are drawn
    assert result.metrics["loss_gap"] == pytest.approx(
        result.metrics["loss_answer"] - result.metrics["loss_answer_train"]
    )
    assert result.verdict.label == "unclear"
    assert "fewer than 50" in result.verdict.reason
    again = measure(finished.root, "train.jsonl")
    assert again.metrics["loss_gap"] == pytest.approx(0, abs=1e-6)  # all 27 on both sides


def test_the_training_data_itself_gets_no_verdict(finished: Finished) -> None:
    result = measure(finished.root, "train.jsonl")
    assert result.verdict.label == "unclear"
    assert "100% of these pairs stand in the training data" in result.verdict.reason
    assert result.metrics["in_training"] == 1
    assert "what is remembered" in " ".join(result.remarks)


def test_answers_from_the_training_data_are_told_apart(finished: Finished) -> None:
    result = measure(finished.root, "train.jsonl", eval__samples=27)
    answers = {json.loads(line)["answer"] for line in lines_of(finished.root / "train.jsonl")}
    found = [row.answer in answers for row in rows(result)]
    assert [row.memorised for row in rows(result)] == found
    assert result.metrics["memorised"] == pytest.approx(sum(found) / 27)
    assert [row.nearest_training_question for row in rows(result)] == [
        row.question for row in rows(result)
    ]
    assert [each.label for each in result.breakdowns["training_question"].buckets] == ["near"]


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


@pytest.mark.parametrize("change", ["missing", "other"])
def test_without_the_training_data_its_figures_are_left_out_and_a_note_says_why(
    copy: Path, change: str
) -> None:
    train_file = copy / "train.jsonl"
    if change == "missing":
        train_file.unlink()
    else:
        train_file.write_text("\n".join(lines_of(train_file)[1:]), "utf-8")
    events: list[Event] = []
    result = evaluate(tiny_settings(copy), report=events.append)
    assert {"memorised", "loss_gap", "in_training"}.isdisjoint(result.metrics)
    assert "common answer" not in result.baselines
    assert "training_question" not in result.breakdowns
    assert result.verdict.label == "unclear"
    said = texts(events, Note)
    assert ("is not there" if change == "missing" else "is not the data that") in said
    assert "--train-data" in said


def test_strict_reading_concerns_the_measured_data_alone(copy: Path) -> None:
    with (copy / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("not JSON\n")
    result = evaluate(tiny_settings(copy, data__strict=True))
    assert "loss_gap" in result.metrics


def test_two_checkpoints_are_compared_on_the_same_pairs(finished: Finished) -> None:
    last = finished.run_dir / "last.safetensors"
    result = measure(finished.root, "data.jsonl", eval__compare=str(last))
    alone = measure(finished.root, "data.jsonl", eval__checkpoint=last)
    assert result.comparison is not None
    assert (result.comparison.other, result.comparison.pairs) == (last, 30)
    for each in result.comparison.contrasts:
        assert each.value == pytest.approx(result.metrics[each.name])
        assert each.other == pytest.approx(alone.metrics[each.name], rel=1e-5)
    assert result.comparison.remark == ""
    assert measure(finished.root).comparison is None


def test_models_with_different_vocabularies_and_lengths_are_compared(
    finished: Finished, root: Path
) -> None:
    flat = save_flat_model(root, favourite=2)  # knows 甲乙丙, and pairs of 16 tokens
    data = write_pairs(root / "exam.jsonl", [*PAIRS, ("甲", "乙" * 20)])
    settings = tiny_settings(root, eval__checkpoint=finished.run_dir, eval__compare=str(flat))
    events: list[Event] = []
    result = evaluate(settings, file=data, report=events.append)
    assert (result.pairs, result.left_out) == (30, 1)
    assert "one of the models" in texts(events, Warned)
    assert result.comparison is not None
    assert "vocabularies differ" in result.comparison.remark
    contrasts = {each.name: each for each in result.comparison.contrasts}
    assert contrasts["bits_per_character_answer"].better
    assert contrasts["exact_match"].other == 0


def test_a_second_checkpoint_that_is_missing_is_told_before_anything_is_measured(
    finished: Finished,
) -> None:
    events: list[Event] = []
    settings = tiny_settings(finished.root, eval__compare="nowhere")
    with pytest.raises(CheckpointError, match="nowhere"):
        evaluate(settings, report=events.append)
    assert not [event for event in events if isinstance(event, Progress)]


def test_a_report_that_would_replace_the_training_data_is_refused(
    finished: Finished, root: Path
) -> None:
    (root / "train.jsonl").rename(root / "train.json")
    settings = tiny_settings(
        root,
        data__train=root / "train.json",
        eval__checkpoint=finished.run_dir,
        eval__report=str(root / "train.json"),
    )
    with pytest.raises(SettingsError, match="replace what it is made from"):
        evaluate(settings, force=True)


def test_what_quantised_weights_cost_is_told(finished: Finished) -> None:
    full = measure(finished.root, "data.jsonl")
    quantized = measure(finished.root, "data.jsonl", runtime__quantize="int8")
    cost = quantized.metrics["quantization_loss"]
    expected = quantized.metrics["loss_answer"] - full.metrics["loss_answer"]
    assert cost == pytest.approx(expected, abs=1e-6)
    assert 0 < abs(cost) < 0.05
    assert quantized.facts["weights"]["quantize"] == "int8"
    assert "quantization_loss" not in full.metrics


def test_the_cost_of_quantised_weights_needs_some(finished: Finished) -> None:
    with pytest.raises(SettingsError, match="cannot be measured") as caught:
        measure(finished.root, "data.jsonl", eval__fail_under=("quantization_loss=0.01",))
    assert "--quantize int8" in caught.value.hint
