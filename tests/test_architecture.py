"""Imports point one way, names stay where they belong, files stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for package in ("feature_specs", "preprocessing", "trainer", "serving") for path in (ROOT / package).rglob("*.py"))
OTHER_FILES = sorted(path for folder in ("benchmarks", "tests") for path in (ROOT / folder).rglob("*.py"))
# Which of our modules a module may import, by the longest prefix that fits it; later lines stand on earlier ones.
ALLOWED = {
    "feature_specs": ("feature_specs",),
    "preprocessing": ("feature_specs", "preprocessing"),
    "serving": (
        "feature_specs",
        "preprocessing.artifacts",
        "preprocessing.delimited",
        "preprocessing.graph",
        "preprocessing.sources.values",
        "serving",
    ),
    "serving.beam": ("feature_specs", "preprocessing", "serving"),
    "serving.verify": ("feature_specs", "preprocessing", "serving", "trainer.estimator", "trainer.quantised"),
    "trainer.layers": ("feature_specs", "trainer.layers"),
    "trainer.models": ("feature_specs", "trainer.layers", "trainer.models.base", "trainer.models.registry"),
    "trainer.metrics": (),
    "trainer.config": ("feature_specs",),
    "trainer.packing": (),
    "trainer.pipelines": (),
    "trainer.data": ("feature_specs", "trainer.packing", "trainer.pipelines"),
    "trainer.precision": (),
    "trainer.optimizers": ("trainer.layers",),
    "trainer.ftrl": ("trainer.layers", "trainer.optimizers"),
    "trainer.groups": (
        "feature_specs",
        "trainer.config",
        "trainer.ftrl",
        "trainer.layers",
        "trainer.models.base",
        "trainer.optimizers",
    ),
    "trainer.exporters": ("feature_specs",),
    "trainer.input_fns": ("feature_specs", "trainer.pipelines"),
    "trainer.column_text": (),
    "trainer.tasks": ("feature_specs", "trainer.config", "trainer.metrics"),
    "trainer.loop": (
        "feature_specs",
        "trainer.config",
        "trainer.groups",
        "trainer.models",
        "trainer.precision",
        "trainer.scoring",
        "trainer.tasks",
    ),
    "trainer.scoring": ("feature_specs", "trainer.models"),
    "trainer.matching.losses": (),
    "trainer.matching.sampling": (),
    "trainer.matching.blocks": ("feature_specs", "trainer.data"),
    "trainer.matching.batches": ("feature_specs", "trainer.data", "trainer.matching", "trainer.pipelines"),
    "trainer.matching.ranks": (),
    "trainer.matching.protocols": ("feature_specs",),
    "trainer.matching.negatives": ("trainer.data",),
    "trainer.matching.scoring": ("serving.retrieval", "trainer.data", "trainer.models.base"),
    "trainer.matching.evaluation": ("feature_specs", "trainer.data", "trainer.matching", "trainer.models.base"),
    "trainer": ("feature_specs", "preprocessing.artifacts", "serving", "trainer"),
}


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _is_in(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_imports_point_one_way(path: Path) -> None:
    module = _module(path)
    rule = max((prefix for prefix in ALLOWED if _is_in(module, prefix)), key=len)
    ours = {name for name in _imports(path) if name.split(".")[0] in ("feature_specs", "preprocessing", "trainer", "serving")}
    wrong = [name for name in ours if not any(_is_in(name, prefix) for prefix in ALLOWED[rule])]
    assert not wrong, f"{module} may import {ALLOWED[rule]}"


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_packages_with_a_price_stay_where_they_belong(path: Path) -> None:
    package = _module(path).split(".")[0]
    names = {name.split(".")[0] for name in _imports(path)}
    assert package == "preprocessing" or not names & {"tensorflow_transform", "apache_beam", "tfx_bsl"}
    # One module reads Parquet, inside a function, to propose a spec.
    light = package == "feature_specs" and _module(path) != "feature_specs.inference.binary"
    assert not light or not names & {"tensorflow", "keras", "pandas", "pyarrow", "numpy"}
    # Files are data, never code: workers talk through `multiprocessing`'s connections, YAML is read with a safe loader.
    assert not names & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    assert "tf" + ".keras" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [*FILES, *OTHER_FILES], ids=_module)
def test_files_hold_one_idea(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    limit = {"ranking": 60, "matching": 80}.get(path.parent.name, 300) if path.parent.parent == ROOT / "trainer" / "models" else 300
    assert lines <= limit


def test_base_names_of_tests_are_unique() -> None:
    # Without packages, pytest imports each test file and its helpers by base name.
    names = [path.name for path in OTHER_FILES if path.is_relative_to(ROOT / "tests") and path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_listing_and_help_load_no_tensorflow() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from trainer.task import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['--list_models']); main(['--help'])\n"
        "print([name for name in ('tensorflow', 'keras', 'pandas', 'apache_beam') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_specs_load_nothing_that_is_slow_to_import() -> None:
    slow = ("tensorflow", "keras", "numpy", "pandas", "pyarrow", "apache_beam", "trainer", "preprocessing")
    code = f"import sys, feature_specs\nprint([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
