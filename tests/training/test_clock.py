import pytest

from minigpt.training.clock import Clock


def test_the_pace_leaves_out_the_first_step_and_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = Clock()
    assert clock.seconds_per_step() is None
    now[0] += 30.0  # compiling
    clock.count(10)
    assert clock.seconds_per_step() is None
    now[0] += 2.0
    clock.count(10)
    assert clock.pause() == 32.0
    now[0] += 50.0  # validation
    clock.restart()
    now[0] += 4.0
    clock.count(10)
    assert clock.seconds_per_step() == 3.0
