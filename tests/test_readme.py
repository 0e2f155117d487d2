"""The README's commands and its Python example, run as they stand there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text("utf-8")


def block(marker: str, text: str = README) -> str:
    """The code block that stands after the comment `marker`."""
    found = re.search(rf"<!-- {marker} -->\n+```\w*\n(.*?)```", text, re.DOTALL)
    assert found, marker
    return found[1]


def environment(**more: str) -> dict[str, str]:
    """This environment, in which `minigpt` is the one under test."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | more


def shell(command: str, folder: Path, **more: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def few_pairs(path: Path, *, count: int = 60) -> Path:
    lines = (ROOT / "data" / "data.jsonl").read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:count]), "utf-8")
    return path


@pytest.mark.slow
def test_the_first_command_ends_in_an_answer(tmp_path: Path) -> None:
    """Only the data is smaller; the installation is that of the tests."""
    source = few_pairs(tmp_path / "few.jsonl")
    installed, train_and_chat = block("quickstart").split("pip install -c constraints.txt . &&")
    assert installed == "python3 -m venv .venv && . .venv/bin/activate && "
    said = shell(train_and_chat, tmp_path, MINIGPT_DATA__SOURCE=str(source)).splitlines()
    assert said[0] == "output/best.safetensors"
    assert len(said) == 2
    assert (tmp_path / "output" / "metrics.jsonl").exists()


def test_ci_runs_the_second_command() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    extracted = subprocess.run(
        [
            "bash",
            "-c",
            next(line for line in script.splitlines() if "command=$(" in line)
            + '; printf "%s\\n" "$command"',
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert extracted == block("tests")
    assert 'bash -euo pipefail -c "$command"' in script


@pytest.mark.slow
def test_the_commands_for_own_data_run_in_order(tmp_path: Path) -> None:
    few_pairs(tmp_path / "data.jsonl")
    tiny = {"MINIGPT_MODEL__SIZE": "tiny", "MINIGPT_MODEL__N_LAYER": "1"}
    commands = block("pipeline").replace("--epochs 15", "--epochs 1")
    said = shell(f"exec </dev/null; {commands.replace('chat', 'chat 你好')}", tmp_path, **tiny)
    assert "output/best.safetensors" in said
    assert json.loads((tmp_path / "output" / "settings.json").read_text())["model"]["n_layer"] == 1


def test_the_python_example_prints_what_it_says() -> None:
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found
    expected = found[1].rstrip().rsplit("# ", 1)[1]
    done = subprocess.run(
        [sys.executable, "-c", found[1]],
        env=environment(PYTHONIOENCODING="utf-8"),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.strip() == expected


def test_both_languages_show_the_same_code() -> None:
    blocks = re.compile(r"```\w*\n(.*?)```", re.DOTALL)

    def code(text: str) -> list[str]:
        return [re.sub(r" +#.*", "", found) for found in blocks.findall(text)]

    assert code(CHINESE) == code(README)


def test_every_file_that_the_readme_links_to_is_there() -> None:
    for text in (README, CHINESE):
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / target).exists(), target


def test_the_settings_example_is_accepted(tmp_path: Path) -> None:
    found = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert found
    (tmp_path / "minigpt.toml").write_text(found[1])
    code = "import minigpt; print(minigpt.load_settings().train.batch_size)"
    assert shell(f"{sys.executable} -c '{code}'", tmp_path).strip() == "32"
