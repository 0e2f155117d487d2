import os

import pytest

from minigpt.cli.process import prepare_libraries

NAMES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.fixture(autouse=True)
def _without_settings_of_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what is set in the test goes with it
        monkeypatch.delenv(name)


def with_load(monkeypatch: pytest.MonkeyPatch, cores: float) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (cores, 0.0, 0.0), raising=False)


def test_threads_wait_without_spinning_only_where_other_programs_compute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_load(monkeypatch, 0.1)
    prepare_libraries()
    assert "GOMP_SPINCOUNT" not in os.environ
    with_load(monkeypatch, 1.2)
    prepare_libraries()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_set_for_a_library_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_load(monkeypatch, 1.2)
    monkeypatch.setenv(name, "active")
    prepare_libraries()
    assert os.environ[name] == "active"
    assert "GOMP_SPINCOUNT" not in os.environ or name != "OMP_WAIT_POLICY"


def test_code_kept_for_shapes_of_matrices_is_bounded() -> None:
    prepare_libraries()
    assert int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) <= 128


def test_a_system_without_load_averages_is_taken_as_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    prepare_libraries()
    assert "GOMP_SPINCOUNT" not in os.environ
