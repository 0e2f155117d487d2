import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minigpt import errors
from minigpt.errors import InterruptedRunError, MiniGPTError

PACKAGE = Path(__file__).parents[1] / "minigpt"
MODULES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = ["vocab", "split", "stats", "train", "eval", "chat"]

EACH_MODULE = pytest.mark.parametrize(
    "module", [pytest.param(path, id=str(path.relative_to(PACKAGE))) for path in MODULES]
)

# What a part may import of ours. The package itself (minigpt.__version__) is everyone's.
FOUNDATION = {"errors", "events", "files", "memory", "settings", "layers"}
ALLOWED = {
    "errors": set[str](),
    "events": set[str](),
    "files": {"errors"},
    "memory": set[str](),
    "settings": {"errors"},
    "layers": {"errors", "files", "settings"},
    "corpus": {"errors", "events", "files", "memory"},
    "model": {"errors", "events", "files", "memory", "settings", "corpus.vocab"},
    "training": {"errors", "events", "settings", "model", "corpus"},
    "evaluation": {"errors", "events", "files", "settings", "model", "corpus", "training"},
    "services": FOUNDATION | {"corpus", "model", "training", "evaluation"},
    "cli": FOUNDATION | {"evaluation.figures"},  # names and meanings, nothing but text
    "__main__": {"cli"},
    "__init__": FOUNDATION | {"corpus", "model", "training", "evaluation", "services"},
}
FOREIGN_NEVER = {
    "errors": {"torch", "numpy", "pydantic", "typer", "rich"},
    "events": {"torch", "numpy", "pydantic", "typer", "rich"},
    "files": {"torch", "numpy", "pydantic", "typer", "rich"},
    "memory": {"torch", "numpy", "pydantic", "typer", "rich"},
    "settings": {"torch", "numpy", "typer", "rich"},
    "layers": {"torch", "numpy", "typer", "rich"},
    "corpus": {"torch", "typer", "rich"},
    "model": {"typer", "rich"},
    "training": {"typer", "rich"},
    "evaluation": {"typer", "rich"},
    "services": {"typer", "rich"},
    "cli": {"torch", "numpy", "click", "typer._click"},
    "__main__": {"torch", "numpy"},
    "__init__": {"torch", "numpy"},
}


def part_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            base = node.module or ""
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imported_when_loaded(tree: ast.Module) -> Iterator[str]:
    """What importing the module imports: not what stands in functions or for type checkers."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef):
            yield from imports(node)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                continue
            yield from imports(node)


def parse(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"), filename=str(module))


def under(name: str, roots: set[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


@EACH_MODULE
def test_imports_point_down(module: Path) -> None:
    part = part_of(module)
    tree = parse(module)
    # The commands import their service when they run; all else counts wherever it stands.
    names = imported_when_loaded(tree) if part in {"cli", "__init__"} else imports(tree)
    ours = {name.removeprefix("minigpt.") for name in names if name.startswith("minigpt.")}
    wrong = {
        name
        for name in ours
        if not name.startswith("__") and not under(name, ALLOWED[part] | {part})
    }
    assert wrong == set()


@EACH_MODULE
def test_no_module_imports_a_library_above_its_station(module: Path) -> None:
    forbidden = FOREIGN_NEVER[part_of(module)]
    assert {name for name in imports(parse(module)) if under(name, forbidden)} == set()


@EACH_MODULE
def test_corpus_and_model_do_not_know_the_settings_root(module: Path) -> None:
    if part_of(module) in {"corpus", "model", "training", "evaluation"}:
        assert "minigpt.settings.Settings" not in set(imports(parse(module)))


@EACH_MODULE
def test_nothing_is_printed_unpickled_or_evaluated(module: Path) -> None:
    tree = parse(module)
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert called.isdisjoint({"print", "eval", "exec", "compile", "torch.load", "__import__"})
    assert not any(under(name, {"pickle", "marshal", "shelve", "dill"}) for name in imports(tree))


@EACH_MODULE
def test_only_runtime_asks_for_devices(module: Path) -> None:
    if module.relative_to(PACKAGE) != Path("model/runtime.py"):
        text = module.read_text(encoding="utf-8")
        assert "torch.cuda" not in text
        assert ".is_available(" not in text


@EACH_MODULE
def test_the_standard_streams_are_written_in_cli_alone(module: Path) -> None:
    if part_of(module) not in {"cli", "__main__"}:
        text = module.read_text(encoding="utf-8")
        assert "sys.stdout" not in text
        assert "sys.stderr" not in text


@pytest.mark.parametrize(
    "package", [path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]
)
def test_a_package_init_holds_a_docstring_and_nothing_else(package: Path) -> None:
    body = parse(package / "__init__.py").body
    assert len(body) == 1
    assert ast.get_docstring(parse(package / "__init__.py"))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_neither_torch_nor_numpy(command: str) -> None:
    script = (
        "import sys\n"
        "from minigpt.cli.main import main\n"
        "code = main([*sys.argv[1:], '--help'])\n"
        "heavy = {'torch', 'numpy', 'pydantic_settings'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)\n"
    )
    arguments = [sys.executable, "-c", script, *([command] if command else [])]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Examples:" in done.stdout


EXIT_CODES = {
    "MiniGPTError": 1,
    "SettingsError": 2,
    "DataError": 3,
    "CheckpointError": 4,
    "VocabError": 4,
    "OutputError": 5,
    "DeviceError": 6,
    "DivergedError": 7,
    "ThresholdError": 8,
}


def test_every_error_class_has_its_exit_code() -> None:
    classes = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, MiniGPTError)
    }
    classes.pop("InterruptedRunError")
    assert classes == EXIT_CODES


@pytest.mark.parametrize(("signal_number", "code"), [(2, 130), (15, 143)])
def test_an_interrupted_run_has_the_code_of_its_signal(signal_number: int, code: int) -> None:
    assert InterruptedRunError("stopped", signal_number=signal_number).code == code


def test_a_checkpoint_is_found_without_torch() -> None:
    code = "import sys, minigpt.model.location; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
