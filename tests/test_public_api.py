import doctest
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import minigpt
from tests.services.tiny import tiny_settings, write_pairs

COLOURS = {
    "天空": "蓝色",
    "草地": "绿色",
    "雪": "白色",
    "煤": "黑色",
    "苹果": "红色",
    "香蕉": "黄色",
    "橙子": "橙色",
    "茄子": "紫色",
    "老鼠": "灰色",
    "树干": "棕色",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a user has it after `minigpt train`: data/ and output/."""
    root = tmp_path_factory.mktemp("trained")
    data = root / "data"
    data.mkdir()
    pairs = [(f"{thing}是什么颜色？", f"{colour}。") for thing, colour in COLOURS.items()]
    write_pairs(data / "data.jsonl", pairs)
    names = {"source": "data.jsonl", "vocab": "vocab.json"}
    names |= {"train": "train.jsonl", "val": "val.jsonl"}
    files = {f"data__{key}": data / name for key, name in names.items()}
    minigpt.split_data(tiny_settings(root, **files))
    files["data__val"] = data / "train.jsonl"  # the best model is the one that knows them by heart
    learnt: dict[str, Any] = {"model__n_embd": 32, "train__epochs": 60, "train__batch_size": 3}
    learnt |= {"train__learning_rate": 0.03, "train__run_dir": root / "output"}
    minigpt.train(tiny_settings(root, **learnt, **files))
    return root


@pytest.mark.parametrize("name", minigpt.__all__)
def test_every_public_name_has_an_example_that_runs(
    name: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    shutil.copytree(trained, root)
    monkeypatch.chdir(root)
    for variable in [each for each in os.environ if each.startswith("MINIGPT_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("MINIGPT_RUNTIME__DEVICE", "cpu")
    monkeypatch.setenv("MINIGPT_TRAIN__TENSORBOARD", "off")  # slow to import
    value = minigpt if name == "__version__" else getattr(minigpt, name)
    assert value.__doc__
    test = doctest.DocTestParser().get_doctest(value.__doc__, {}, name, None, None)
    assert any(example.want for example in test.examples)
    assert name in "".join(example.source for example in test.examples)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert "".join(said) == ""


def test_the_public_names_are_sorted_and_listed() -> None:
    names = [name for name in minigpt.__all__ if name != "__version__"]
    assert dir(minigpt) == sorted(minigpt.__all__)
    assert set(names) == set(minigpt._HOMES)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, minigpt; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = minigpt.nothing
