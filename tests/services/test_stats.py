from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from minigpt.corpus.dataset import tokenize
from minigpt.corpus.qa import QAPair
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import load_vocab
from minigpt.errors import DataError, OutputError, VocabError
from minigpt.services.stats import show_stats
from minigpt.services.vocab import build_vocabulary
from minigpt.settings import DataSettings, Settings, StatsSettings, TrainSettings
from minigpt.training.batches import IGNORE_INDEX, collate
from tests.corpus.examples import numbered_pairs, write_pairs


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    source = write_pairs(tmp_path / "data.jsonl", numbered_pairs(40))
    write_pairs(tmp_path / "train.jsonl", numbered_pairs(30))
    data = DataSettings(
        source=source,
        vocab=tmp_path / "vocab.json",
        train=tmp_path / "train.jsonl",
        val=tmp_path / "val.jsonl",
    )
    build_vocabulary(Settings(data=data))
    return data


def with_stats(data: DataSettings, **stats: Any) -> Settings:
    return Settings(data=data, stats=StatsSettings(**stats))


def test_training_data_is_measured_by_default(data: DataSettings) -> None:
    result = show_stats(Settings(data=data))
    assert (result.path, result.vocab, result.skipped) == (data.train, data.vocab, 0)
    assert result.vocab_size == load_vocab(data.vocab).size
    assert result.stats.pairs == 30
    assert result.stats.unknown.count == 0
    assert (result.plot, result.plot_status, result.shown) == (None, None, ())


def test_given_file_is_measured(data: DataSettings, tmp_path: Path) -> None:
    file = write_pairs(tmp_path / "other.jsonl", [("第?", "个!!")])
    result = show_stats(Settings(data=data), file=file)
    assert result.stats.pairs == 1
    assert result.stats.unknown.most_common == (("!", 2), ("?", 1))


def test_shown_pairs_are_what_the_model_is_fed(data: DataSettings) -> None:
    result = show_stats(with_stats(data, show=2))
    tokenizer = Tokenizer(load_vocab(data.vocab))
    assert [(pair.question, pair.answer) for pair in result.shown] == numbered_pairs(2)
    for pair in result.shown:
        ids = tokenizer.encode_pair(pair.question, pair.answer)
        assert [token.position for token in pair.tokens] == list(range(len(ids) - 1))
        assert [token.id for token in pair.tokens] == ids[:-1]
        assert [token.target_id for token in pair.tokens] == ids[1:]
        assert "".join(token.token for token in pair.tokens if token.part == "question") == (
            pair.question
        )
        assert "".join(token.token for token in pair.tokens if token.part == "answer") == (
            pair.answer
        )
        assert [token.token for token in pair.tokens if token.part == "separator"] == ["<sep>"]
        assert [token.target for token in pair.tokens][-1] == "<sep>"


def test_shown_text_is_the_datas_even_where_the_vocabulary_lacks_it(
    data: DataSettings, tmp_path: Path
) -> None:
    file = write_pairs(tmp_path / "other.jsonl", [("第!", "?")])
    (pair,) = show_stats(with_stats(data, show=1), file=file).shown
    shown = [(token.text, token.token) for token in pair.tokens]
    assert shown == [("第", "第"), ("!", "<unk>"), ("", "<sep>"), ("?", "<unk>")]


@pytest.mark.parametrize("loss_on", ["all", "answer"])
def test_what_is_said_to_count_is_what_training_counts(
    data: DataSettings, loss_on: Literal["all", "answer"]
) -> None:
    shown = show_stats(with_stats(data, show=30)).shown
    dataset = tokenize(
        [QAPair(p.question, p.answer) for p in shown], Tokenizer(load_vocab(data.vocab))
    )
    for row, pair in enumerate(shown):
        batch = collate(dataset, np.array([row]), loss_on=loss_on)
        assert [token.id for token in pair.tokens] == batch.input_ids[0].tolist()
        told = [
            token.target_id if getattr(token, f"counts_on_{loss_on}") else IGNORE_INDEX
            for token in pair.tokens
        ]
        assert told == batch.targets[0].tolist()
        assert not pair.over_max_length


def test_nothing_counts_of_a_pair_that_training_leaves_out(data: DataSettings) -> None:
    longest = max(len(q) + len(a) + 2 for q, a in numbered_pairs(30))
    settings = Settings(
        data=data, stats=StatsSettings(show=30), train=TrainSettings(max_length=longest - 1)
    )
    shown = show_stats(settings).shown
    dataset = tokenize(
        [QAPair(p.question, p.answer) for p in shown],
        Tokenizer(load_vocab(data.vocab)),
        max_length=longest - 1,
    )
    assert 0 < sum(pair.over_max_length for pair in shown) == dataset.too_long < 30
    for pair in shown:
        counts = {token.counts_on_all or token.counts_on_answer for token in pair.tokens}
        assert (counts == {False}) == pair.over_max_length


def test_no_more_pairs_are_shown_than_there_are(data: DataSettings) -> None:
    assert len(show_stats(with_stats(data, show=1000)).shown) == 30


def test_missing_vocabulary_is_not_built_but_named(data: DataSettings) -> None:
    data.vocab.unlink()
    with pytest.raises(VocabError) as caught:
        show_stats(Settings(data=data))
    assert "minigpt vocab" in caught.value.hint
    assert not data.vocab.exists()


@pytest.mark.parametrize("with_source", [True, False])
def test_missing_training_data_names_the_next_command(
    data: DataSettings, with_source: bool
) -> None:
    data.train.unlink()
    if not with_source:
        data.source.unlink()
    with pytest.raises(DataError) as caught:
        show_stats(Settings(data=data))
    assert ("minigpt split" if with_source else "minigpt stats FILE") in caught.value.hint


def test_missing_given_file_is_a_data_error(data: DataSettings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl"):
        show_stats(Settings(data=data), file=tmp_path / "absent.jsonl")


@pytest.mark.parametrize("name", ["plot.png", "plot.SVG", "plot.pdf"])
def test_picture_is_written_once_and_replaced_only_by_force(
    data: DataSettings, tmp_path: Path, name: str
) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / name
    settings = with_stats(data, plot=str(plot))
    assert show_stats(settings).plot_status == "written"
    assert show_stats(settings).plot_status == "unchanged"
    other = with_stats(data, plot=str(plot), interval=3)
    with pytest.raises(OutputError, match="exists with other content"):
        show_stats(other)
    assert show_stats(other, force=True).plot_status == "written"
