import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus.qa import read_file
from minigpt.errors import DataError, OutputError, SettingsError
from minigpt.events import Event, Progress
from minigpt.services.split import split_data
from minigpt.settings import DataSettings, Settings, SplitSettings
from tests.corpus.examples import few_examples, files, numbered_pairs, write_pairs


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    return DataSettings(
        source=write_pairs(tmp_path / "data.jsonl", numbered_pairs(40)),
        train=tmp_path / "train.jsonl",
        val=tmp_path / "val.jsonl",
    )


def with_split(data: DataSettings, **split: Any) -> Settings:
    return Settings(data=data, split=SplitSettings(**split))


def questions(path: Path) -> set[str]:
    return {json.loads(line)["question"] for line in path.read_text("utf-8").splitlines()}


def as_the_tutorial_splits(content: bytes, *, seed: int, ratio: float) -> tuple[bytes, bytes]:
    valid = []
    for line in content.decode("utf-8").splitlines():
        try:
            json.loads(line)
        except json.JSONDecodeError:
            continue
        valid.append(line)
    random.seed(seed)
    random.shuffle(valid)
    cut = int(len(valid) * ratio)
    train, val = ("".join(f"{line}\n" for line in part) for part in (valid[:cut], valid[cut:]))
    return train.encode("utf-8"), val.encode("utf-8")


@pytest.mark.parametrize("seed", [0, 42, 2**63 - 1])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.8, 0.9])
def test_plain_split_is_the_tutorials_byte_for_byte(
    data: DataSettings, seed: int, ratio: float
) -> None:
    odd = b' {"topic":  "\\u6c14", "answer":"b" ,"question":"a","n":1e3}  \n{bad\n\n'
    content = data.source.read_bytes() + odd + data.source.read_bytes().removesuffix(b"\n")
    data.source.write_bytes(content)
    result = split_data(with_split(data, seed=seed, train_ratio=ratio, leak_free=False))
    train, val = as_the_tutorial_splits(content, seed=seed, ratio=ratio)
    assert data.train.read_bytes() == train
    assert data.val.read_bytes() == val
    assert (result.train_pairs, result.val_pairs) == (train.count(b"\n"), val.count(b"\n"))
    assert (result.moved, result.skipped) == (0, 1)


def as_lists_split(path: Path, *, seed: int, ratio: float) -> tuple[bytes, bytes]:
    """The leak-free split of all lines held in memory."""
    lines = read_file(path).lines
    random.Random(seed).shuffle(lines)
    cut = int(len(lines) * ratio)
    train, rest = lines[:cut], lines[cut:]
    known = {line.pair.question for line in train}
    train += [line for line in rest if line.pair.question in known]
    val = [line for line in rest if line.pair.question not in known]
    if not cut or not val:
        raise DataError("no split")
    first, second = (b"".join(line.raw + b"\n" for line in part) for part in (train, val))
    return first, second


@few_examples
@given(content=files(), seed=st.integers(0, 9), ratio=st.sampled_from([0.3, 0.5, 0.9]))
def test_leak_free_split_of_any_file_is_that_of_lists(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, seed: int, ratio: float
) -> None:
    folder = tmp_path_factory.mktemp("split")
    paths = [folder / name for name in ("data.jsonl", "train.jsonl", "val.jsonl")]
    source, train, val = paths
    source.write_bytes(content)
    settings = with_split(
        DataSettings(source=source, train=train, val=val), seed=seed, train_ratio=ratio
    )
    try:
        expected = as_lists_split(source, seed=seed, ratio=ratio)
    except DataError:
        with pytest.raises(DataError):
            split_data(settings)
        assert [*folder.iterdir()] == [source]
        return
    split_data(settings)
    assert (train.read_bytes(), val.read_bytes()) == expected
    assert sorted(folder.iterdir()) == paths


def test_leak_free_split_shares_no_question(data: DataSettings) -> None:
    repeated = [(question, str(i)) for i in range(3) for question, _ in numbered_pairs(40)]
    write_pairs(data.source, repeated)
    result = split_data(with_split(data, train_ratio=0.5))
    assert not questions(data.train) & questions(data.val)
    assert result.moved == result.train_pairs - 60
    assert result.moved > 0
    assert result.train_pairs + result.val_pairs == 120


def test_leak_free_split_of_distinct_questions_is_the_plain_one(data: DataSettings) -> None:
    split_data(with_split(data, leak_free=False))
    result = split_data(with_split(data, leak_free=True))
    assert (result.train_status, result.val_status) == ("unchanged", "unchanged")


def test_mark_and_windows_line_ends_make_no_difference(data: DataSettings) -> None:
    split_data(Settings(data=data))
    plain = data.source.read_bytes()
    data.source.write_bytes(b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n"))
    assert split_data(Settings(data=data)).train_status == "unchanged"


@pytest.mark.parametrize("part", ["train", "val"])
def test_no_part_is_written_when_one_holds_other_content(data: DataSettings, part: str) -> None:
    taken, other = (data.train, data.val) if part == "train" else (data.val, data.train)
    taken.write_text("mine")
    with pytest.raises(OutputError, match=f"{taken.name}: exists with other content"):
        split_data(Settings(data=data))
    assert taken.read_text() == "mine"
    assert not other.exists()
    result = split_data(Settings(data=data), force=True)
    assert (result.train_status, result.val_status) == ("written", "written")


@pytest.mark.parametrize("part", ["train", "val"])
def test_no_part_is_written_when_one_differs_in_a_byte(data: DataSettings, part: str) -> None:
    split_data(Settings(data=data))
    taken, other = (data.train, data.val) if part == "train" else (data.val, data.train)
    changed = taken.read_bytes().replace("回".encode(), "答".encode(), 1)
    taken.write_bytes(changed)
    other.unlink()
    with pytest.raises(OutputError, match=f"{taken.name}: exists with other content"):
        split_data(Settings(data=data))
    assert taken.read_bytes() == changed
    assert not other.exists()


def test_an_interrupted_split_leaves_no_file(
    data: DataSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minigpt.corpus.pace.QUIET_S", -1.0)
    seen: set[str] = set()

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.task == "arrange":
            seen.update(path.name[:7] for path in tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        split_data(Settings(data=data), report=interrupt)
    assert seen == {"data.js", ".train.", ".val.js"}
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_an_unchanged_part_is_not_touched(data: DataSettings) -> None:
    split_data(Settings(data=data))
    before = data.train.stat()
    data.val.unlink()
    result = split_data(Settings(data=data))
    assert (result.train_status, result.val_status) == ("unchanged", "written")
    assert data.train.stat() == before


def test_no_part_is_written_when_one_cannot_be(data: DataSettings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unwritable = data.model_copy(update={"val": tmp_path / "file" / "val.jsonl"})
    with pytest.raises(OutputError):
        split_data(Settings(data=unwritable))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "file"]


@pytest.mark.parametrize(
    "same", [("source", "train"), ("source", "val"), ("train", "val")], ids="-".join
)
def test_two_names_of_one_file_are_refused(data: DataSettings, same: tuple[str, str]) -> None:
    before = data.source.read_bytes()
    one = data.model_copy(update={same[1]: getattr(data, same[0])})
    with pytest.raises(SettingsError, match="are one file"):
        split_data(Settings(data=one), force=True)
    assert data.source.read_bytes() == before


def test_strict_writes_nothing_when_a_line_is_bad(data: DataSettings) -> None:
    data.source.write_bytes(data.source.read_bytes() + b"{\n")
    with pytest.raises(DataError):
        split_data(Settings(data=data.model_copy(update={"strict": True})), force=True)
    assert not data.train.exists()


def test_one_pair_cannot_be_split(data: DataSettings) -> None:
    write_pairs(data.source, [("a", "b")])
    with pytest.raises(DataError, match=r"data.jsonl: 1 valid lines.* leave no training pair"):
        split_data(Settings(data=data))
    assert not data.train.exists()
