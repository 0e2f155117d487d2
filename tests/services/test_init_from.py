import json
from pathlib import Path

import pytest

from minigpt.errors import CheckpointError
from minigpt.events import Event, Note, Warned
from minigpt.model.checkpoint import load_checkpoint
from minigpt.services.train import train
from tests.services.tiny import Finished, metrics, texts, tiny_settings, write_pairs

NEW = [("乙加丙等于几？", "不知道。"), ("丁加戊等于几？", "也不知道。")]


def test_learning_goes_on_from_a_model_that_lacks_some_characters(
    finished: Finished, root: Path
) -> None:
    write_pairs(root / "train.jsonl")
    write_pairs(root / "val.jsonl")
    with (root / "train.jsonl").open("a", encoding="utf-8") as file:
        for question, answer in NEW:
            pair = {"question": question, "answer": answer}
            file.write(json.dumps(pair, ensure_ascii=False) + "\n")
    (root / "vocab.json").unlink()
    (root / "data.jsonl").write_bytes((root / "train.jsonl").read_bytes())
    events: list[Event] = []
    settings = tiny_settings(root, train__init_from=str(finished.run_dir), train__epochs=1)
    result = train(settings, report=events.append)

    old, new = load_checkpoint(finished.result.best).vocab, load_checkpoint(result.best).vocab
    assert old.size < new.size
    known = f"which knows {old.size} of {new.size} tokens"
    assert known in texts(events, Note)
    assert texts(events, Warned) == ""  # a first loss under ln V is no wonder here
    assert result.best_val_loss < metrics(finished.run_dir)[-1]["val_loss"]


def test_a_model_of_another_size_is_refused_before_anything_is_written(
    finished: Finished, root: Path
) -> None:
    settings = tiny_settings(root, train__init_from=str(finished.run_dir), model__n_layer=2)
    with pytest.raises(CheckpointError, match="has 1 layers"):
        train(settings)
    assert not (root / "output" / "settings.json").exists()


def test_what_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        train(tiny_settings(root, train__init_from=str(root / "nowhere")))
