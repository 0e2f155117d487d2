import os
from pathlib import Path

import pytest

from minigpt.corpus.vocab import load_vocab
from minigpt.errors import DataError, OutputError, SettingsError
from minigpt.events import BadLine, BadLines, Event
from minigpt.services.vocab import build_vocabulary
from minigpt.settings import DataSettings, Settings, VocabSettings
from tests.corpus.examples import numbered_pairs, write_pairs


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    source = write_pairs(tmp_path / "data.jsonl", numbered_pairs(20))
    return DataSettings(source=source, vocab=tmp_path / "made" / "vocab.json")


def test_written_vocabulary_holds_every_character(data: DataSettings) -> None:
    result = build_vocabulary(Settings(data=data))
    vocab = load_vocab(data.vocab)
    characters = sorted(set("".join(q + a for q, a in numbered_pairs(20))))
    assert vocab.tokens[3:] == tuple(characters)
    assert (result.status, result.size, result.sha256) == ("written", vocab.size, vocab.sha256)
    assert (result.pairs, result.skipped) == (20, 0)
    assert (result.characters, result.dropped) == (len(characters), 0)
    assert result.unknown_share == 0
    assert result.most_common[0] == ("个", 40)


def test_second_run_changes_nothing(data: DataSettings) -> None:
    build_vocabulary(Settings(data=data))
    before = data.vocab.stat()
    assert build_vocabulary(Settings(data=data)).status == "unchanged"
    assert data.vocab.stat() == before


def test_other_vocabulary_is_replaced_only_by_force(data: DataSettings) -> None:
    settings = Settings(data=data)
    build_vocabulary(settings)
    write_pairs(data.source, [("新", "词")])
    with pytest.raises(OutputError, match="exists with other content"):
        build_vocabulary(settings)
    assert load_vocab(data.vocab).size > 5
    assert build_vocabulary(settings, force=True).status == "written"
    assert load_vocab(data.vocab).size == 5


def test_dropped_characters_are_counted(data: DataSettings) -> None:
    result = build_vocabulary(Settings(data=data, vocab=VocabSettings(max_size=7)))
    assert result.size == load_vocab(data.vocab).size == 7
    assert result.dropped == result.characters - 4
    assert 0 < result.unknown_share < 1


def test_bad_lines_are_reported_and_counted(data: DataSettings) -> None:
    with data.source.open("ab") as file:
        file.write(b"{\n")
    events: list[Event] = []
    result = build_vocabulary(Settings(data=data), report=events.append)
    assert result.skipped == 1
    assert events == [
        BadLine(data.source, 21, "not JSON"),
        BadLines(data.source, 1, {"not JSON": 1}),
    ]


def test_strict_writes_nothing_when_a_line_is_bad(data: DataSettings) -> None:
    with data.source.open("ab") as file:
        file.write(b"{\n")
    strict = data.model_copy(update={"strict": True})
    with pytest.raises(DataError):
        build_vocabulary(Settings(data=strict), force=True)
    assert not data.vocab.exists()


@pytest.mark.parametrize("linked", [False, True])
def test_data_is_never_replaced_by_its_vocabulary(
    data: DataSettings, linked: bool, tmp_path: Path
) -> None:
    target = tmp_path / "link.json" if linked else data.source
    if linked:
        os.link(data.source, target)
    before = data.source.read_bytes()
    with pytest.raises(SettingsError, match="would replace what it is made from"):
        build_vocabulary(Settings(data=data.model_copy(update={"vocab": target})), force=True)
    assert data.source.read_bytes() == before


def test_missing_source_is_a_data_error(data: DataSettings) -> None:
    data.source.unlink()
    with pytest.raises(DataError, match="cannot read the data"):
        build_vocabulary(Settings(data=data))
