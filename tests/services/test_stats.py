from pathlib import Path
from typing import Any

import pytest

from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import load_vocab
from minigpt.errors import DataError, OutputError, VocabError
from minigpt.services.stats import show_stats
from minigpt.services.vocab import build_vocabulary
from minigpt.settings import DataSettings, Settings, StatsSettings
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
