"""The folders are what the design says, and the parts keep apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.test_dag import imports, reached

TOP = {
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "SECURITY.md", "Makefile",
    "pyproject.toml", "params.yaml", "dvc.yaml",
    "dvc.lock", "bentofile.yaml", "requirements.txt", "requirements-serve.txt",
    "requirements-dev.txt", "requirements-extras.txt", "requirements-uv.txt", "stages", "service",
    "data", "deploy", "docs",
    "bench", "tests", ".ci", ".dvc", ".dvcignore", ".github", ".gitignore",
    ".pre-commit-config.yaml",
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


# Each imports those before it alone, and modules in no package.
LAYERS = ("source", "parsing", "model", "graph", "evaluation", "release")


def test_the_packages_of_the_stages_rest_on_one_another_in_one_direction() -> None:
    assert {path.parent.name for path in (ROOT / "stages").glob("*/__init__.py")} == {*LAYERS}
    for place, layer in enumerate(LAYERS):
        modules = [path.relative_to(ROOT) for path in (ROOT / "stages" / layer).glob("*.py")]
        used = {path.parts[1] for module in modules for path in imports(module)}
        assert used.isdisjoint(LAYERS[place + 1 :]), layer


def test_stages_never_import_the_service() -> None:
    modules = (ROOT / "stages").rglob("*.py")
    assert not any(
        path.parts[0] != "stages"
        for module in modules
        for path in imports(module.relative_to(ROOT))
    )


@pytest.mark.slow
def test_the_service_runs_without_pandas_and_scikit_learn() -> None:
    """Import all that is shipped in the Bento, and see what came with it."""
    heavy = {"dask", "dvc", "lightgbm", "onnx", "pandas", "pyarrow", "skl2onnx", "sklearn",
             "sqlalchemy"}  # fmt: skip
    code = (
        "import sys; import service.front, service.example, service.version;"
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
        ("features", {"numpy"}),
        ("train", set()),
        ("training", HEAVY - {"botocore", "dask", "httpx", "matplotlib", "mlflow", "pandera",
                              "skl2onnx", "sqlalchemy"}),
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
    assert len(needed) > len(list((ROOT / "service").glob("*.py")))


def test_no_address_of_a_registry_in_the_locks() -> None:
    names = {path.name for path in ROOT.glob("requirements*.txt")}
    assert len(names) >= 3
    for name in names:
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert text.count("==") <= text.count("--hash=sha256:")
