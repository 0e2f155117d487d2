import hashlib
import json
from pathlib import Path

import pytest

from minigpt.errors import CheckpointError
from minigpt.model.checkpoint import FORMAT, load_checkpoint, load_training_state
from tests.golden.make import HERE, describe

FILES = sorted(HERE.glob("format-*.safetensors"))
SHA256 = {
    "format-1.safetensors": "08e515d2d6e735feb74c80344a8c04bbf1f1126b4e2031ba45c3dc69b001a6d8"
}


def test_every_format_has_its_file() -> None:
    assert [path.stem for path in FILES] == [f"format-{n}" for n in range(1, FORMAT + 1)]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_published_checkpoint_loads_for_ever(path: Path) -> None:
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[path.name]
    found, expected = describe(path), json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert found.pop("logits") == pytest.approx(expected.pop("logits"), abs=1e-3)
    for name, value in expected.items():  # a later minigpt may know more than the file says
        known = found[name]
        if isinstance(known, dict):
            known = {key: known[key] for key in value}
        assert known == value


def test_a_newer_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    content = FILES[-1].read_bytes()
    newer = content.replace(f'"format":"{FORMAT}"'.encode(), f'"format":"{FORMAT + 1}"'.encode())
    assert newer != content
    path = tmp_path / "newer.safetensors"
    path.write_bytes(newer)
    for load in (load_checkpoint, load_training_state):
        with pytest.raises(CheckpointError, match=f"format {FORMAT + 1}, .* reads {FORMAT}"):
            load(path)
