from pathlib import Path

import pytest

from minigpt.cli.console import next_commands


@pytest.mark.parametrize(
    ("run_dir", "where"),
    [
        ("output", ""),
        ("output-2", " --checkpoint output-2"),
        ("my runs/一", " --checkpoint 'my runs/一'"),
    ],
)
def test_after_a_training_one_is_told_what_to_type(run_dir: str, where: str) -> None:
    first, second = (line.plain for line in next_commands(Path(run_dir)))
    assert first == f"next  minigpt eval{where}  how good it is"
    assert second == f"next  minigpt chat{where}  talk with it"
