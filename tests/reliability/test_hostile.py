import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.reliability.faults import prepare
from tests.reliability.hostile import Case, cases, failures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="pipes, sockets and links of POSIX"),
]

CASES = list(cases())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("hostile") / "home")


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigpt.cli.main.prepare_signals", lambda: None)
    for name in list(os.environ):
        if name.startswith("MINIGPT_"):
            monkeypatch.delenv(name)


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_is_hostile_is_answered_by_its_exit_code_and_words(
    home: Path, tmp_path: Path, case: Case
) -> None:
    root = tmp_path / "root"
    shutil.copytree(home, root)
    assert list(failures(root, case)) == []
    shutil.rmtree(root)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux gives it")
def test_none_of_them_takes_much_memory() -> None:
    import resource  # not on Windows

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4_000_000  # KiB
