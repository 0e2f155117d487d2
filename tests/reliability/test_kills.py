import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX"),
]


def test_a_run_killed_anywhere_loses_nothing_and_ends_in_the_same_bits() -> None:
    command = [sys.executable, "-m", "tests.reliability.kills", "--points", "64", "--seed", "0"]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    record = json.loads(done.stdout)
    assert record["lost"] == []
    assert record["points"] == 64
    assert record["resumed"] > record["started_anew"] > 0
    assert len(record["at_steps"]) >= 5
