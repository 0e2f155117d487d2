import os
import signal
import threading
import time

import pytest

from minigpt.cli.loading import Loading
from minigpt.errors import CheckpointError


def failing() -> int:
    raise CheckpointError("damaged")


def test_the_value_is_waited_for() -> None:
    go = threading.Event()

    def load() -> int:
        assert go.wait(10)
        return 7

    loading = Loading(load)
    loading.check()
    go.set()
    assert (loading.get(), loading.get()) == (7, 7)


def test_an_error_is_raised_where_the_value_is_wanted() -> None:
    loading = Loading(failing)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="damaged"):
            loading.get()
    with pytest.raises(CheckpointError):
        loading.check()


@pytest.mark.skipif(os.name != "posix", reason="signals to a thread as POSIX has them")
def test_an_error_ends_the_block_that_waits_for_a_person() -> None:
    go = threading.Event()

    def load() -> int:
        assert go.wait(10)
        return failing()

    loading = Loading(load)
    with pytest.raises(CheckpointError), loading.interrupting():  # noqa: PT012 - order matters
        go.set()
        time.sleep(10)


def test_an_error_of_before_ends_the_block_too() -> None:
    loading = Loading(failing)
    with pytest.raises(CheckpointError):
        loading.get()
    with pytest.raises(CheckpointError), loading.interrupting():
        raise AssertionError


def test_an_error_outside_the_block_waits_until_it_is_asked_for() -> None:
    go = threading.Event()

    def load() -> int:
        assert go.wait(10)
        return failing()

    loading = Loading(load)
    with loading.interrupting():
        pass
    go.set()
    with pytest.raises(CheckpointError):
        loading.get()


def test_a_persons_own_interruption_stays_one() -> None:
    loading = Loading(lambda: 7)
    with pytest.raises(KeyboardInterrupt), loading.interrupting():
        signal.raise_signal(signal.SIGINT)
    assert loading.get() == 7
