import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMES = {"pydantic-settings": "pydantic_settings", "prompt-toolkit": "prompt_toolkit"}


def declared(requirements: list[str]) -> set[str]:
    names = {re.split(r"[\s<>=\[;~!]", each)[0].lower().replace("_", "-") for each in requirements}
    return {NAMES.get(name, name) for name in names}


def imported() -> dict[str, set[str]]:
    """What the package imports of others, and where."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "minigpt").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(path.name)
    return {name: at for name, at in found.items() if name not in sys.stdlib_module_names}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    core = declared(project["dependencies"])
    optional = declared([*extras["chat"], *extras["plot"], *extras["tensorboard"]])
    names = set(imported()) - {"minigpt"}
    assert names <= core | optional | {
        "triton",
        "pydantic_core",
    }  # with torch on a GPU; with pydantic
    assert core <= names
    assert optional - names <= {"tensorboard"}  # it is torch that imports it


def test_every_declared_dependency_is_pinned_for_the_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pinned = declared((ROOT / "constraints.txt").read_text("utf-8").splitlines())
    extras = project["optional-dependencies"].values()
    wanted = declared(project["dependencies"]) | declared(
        [each for extra in extras for each in extra]
    )
    assert wanted - {"minigpt"} <= pinned
