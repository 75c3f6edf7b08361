"""The folders are what the design says, and the parts keep apart."""

from __future__ import annotations

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.test_dag import imports, reached

TOP = {
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "SECURITY.md", "Makefile",
    "pyproject.toml", "params.yaml", "dvc.yaml",
    "dvc.lock", "bentofile.yaml", "requirements.txt", "requirements-serve.txt",
    "requirements-dev.txt", "requirements-extras.txt", "requirements-uv.txt", "cairn", "stages",
    "service", "data", "deploy", "docs", "bench", "tests", ".ci", ".dvc",
    ".dvcignore", ".github", ".gitignore", ".pre-commit-config.yaml",
}  # fmt: skip


def tracked() -> set[str]:
    """What git has, or would have."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def test_nothing_else_stands_at_the_top() -> None:
    assert {name.split("/")[0] for name in tracked()} == TOP


def test_git_holds_no_data_but_small_text() -> None:
    data = {name for name in tracked() if name.startswith("data/")}
    assert {name for name in data if not name.endswith((".gitignore", ".json", ".yaml"))} == set()
    assert all((ROOT / name).stat().st_size < 100_000 for name in data)


# What each house may import of the project: the arrows of CONTRIBUTING.md's picture.
ARROWS = {
    "cairn": ("cairn/",),
    "stages": ("cairn/", "stages/"),
    "service": ("cairn/", "service/", "stages/__init__.py", "stages/engineering.py"),
}


@pytest.mark.parametrize("house", ARROWS)
def test_each_house_imports_what_its_arrows_point_to(house: str) -> None:
    used = {
        path.as_posix()
        for module in (ROOT / house).rglob("*.py")
        for path in imports(module.relative_to(ROOT))
    }
    assert {path for path in used if not path.startswith(ARROWS[house])} == set()


def test_no_modules_import_one_another_in_a_circle() -> None:
    modules = {
        path.relative_to(ROOT)
        for house in ARROWS
        for path in (ROOT / house).rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {module: imports(module) & modules for module in modules}
    with pytest.raises(CycleError):  # else the test would hold of nothing
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
    TopologicalSorter(graph).prepare()


CORE = (
    *("console", "contract", "errors", "formats", "inference", "onnx_runtime", "paths"),
    *("provenance", "transform"),
)
# Those that the core rests on, with what they import themselves.
LIGHT = {"annotated_types", "numpy", "onnxruntime", "pydantic", "pydantic_core",
         "typing_extensions", "typing_inspection"}  # fmt: skip


def test_the_core_imports_numpy_pydantic_and_onnx_runtime_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); "
        f"{'; '.join(f'import cairn.{name}' for name in CORE)}; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before "
        "if 'site-packages' in (getattr(sys.modules[name], '__file__', None) or '')}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == LIGHT


@pytest.mark.slow
def test_the_service_runs_without_pandas_and_scikit_learn() -> None:
    """Import all that is shipped in the Bento, and see what came with it."""
    heavy = {"dask", "dvc", "lightgbm", "onnx", "pandas", "pyarrow", "skl2onnx", "sklearn",
             "sqlalchemy"}  # fmt: skip
    code = (
        "import sys; import service.http.routes, service.inference.example, service.bento.version;"
        f"print(*sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not done.stdout.split()


# A person waits for each of them, at every run.
HEAVY = {"bentoml", "botocore", "dask", "httpx", "matplotlib", "mlflow", "numpy", "onnx", "pandas",
         "pandera", "pyarrow", "scipy", "skl2onnx", "sklearn", "sqlalchemy"}  # fmt: skip


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("raw", set()),
        ("processed", {"numpy", "pandas", "pyarrow"}),
        ("features", {"numpy", "pyarrow"}),
        ("train", {"numpy", "pandas", "pyarrow", "scipy", "sklearn"}),
        ("evaluate", set()),
        ("evaluation", {"bentoml", "numpy", "onnx", "pandas", "pyarrow", "scipy", "sklearn"}),
    ],
)  # fmt: skip
def test_a_stage_imports_what_each_of_its_runs_needs(module: str, needed: set[str]) -> None:
    code = f"import sys; import stages.{module}; print(*sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == needed


def test_the_bento_includes_what_the_service_imports() -> None:
    include = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    shipped = {p.relative_to(ROOT) for glob in include for p in ROOT.glob(glob.lstrip("/"))}
    # What functions import is for the project; the image is tested for the rest.
    needed = reached(Path("service/service.py"), inside=False)
    assert needed <= {path.as_posix() for path in shipped}
    assert len(needed) > len(list((ROOT / "service").rglob("*.py"))) // 2


def test_no_address_of_a_registry_in_the_locks() -> None:
    names = {path.name for path in ROOT.glob("requirements*.txt")}
    assert len(names) >= 3
    for name in names:
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert text.count("==") <= text.count("--hash=sha256:")


def test_to_list_versions_needs_no_scikit_learn() -> None:
    code = "import sys, cairn.releases.__main__; print('sklearn' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
