import subprocess
import sys

import pytest

import minigpt


def test_every_public_name_resolves_and_is_documented() -> None:
    for name in minigpt.__all__:
        value = getattr(minigpt, name)
        assert name == "__version__" or value.__doc__


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
