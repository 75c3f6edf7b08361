"""dvc.yaml says what the code does: every import, every params block, every path."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cairn import paths
from cairn.params import base, file
from tests.conftest import ROOT

DAG: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES: dict[str, Any] = DAG["stages"]
LOCKFILE = "requirements.txt"
FOLDERS_WORTH = 0.75  # of a folder's modules that a stage imports, where it depends on the folder
ENGINE = {"compute.engine"}
PLOTS = paths.PLOTS.as_posix()
# Imported once the processes of the stage are on their way.
WORK = {"evaluate": Path("stages/evaluation.py")}


def tree(module: Path) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


def imports(module: Path, *, inside: bool = True) -> set[Path]:
    """The project's modules that a module imports itself, inside its functions too or not."""
    names = set()
    for node in ast.walk(tree(module)) if inside else tree(module).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = {Path(*name.split(".")) for name in names}
    packages = {folder for path in files for folder in (path, *path.parents)}
    candidates = {path.with_suffix(".py") for path in files} | {p / "__init__.py" for p in packages}
    return {path for path in candidates if (ROOT / path).is_file()}


def reached(module: Path, *, inside: bool = True) -> set[str]:
    """The project's modules that run when a module runs, itself among them."""
    modules: set[Path] = set()
    waiting = {module, module.parent / "__init__.py"}
    while waiting:
        modules |= waiting
        waiting = set().union(*(imports(path, inside=inside) for path in waiting)) - modules
    return {path.as_posix() for path in modules}


def blocks(stage: str) -> set[str]:
    """Find the sections of params.yaml that a stage reads: X, Y in `read_params(X, Y)`."""
    return {
        ast.unparse(argument).lower()
        for node in ast.walk(tree(work_of(stage)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "read_params"
        for argument in node.args
    }


def dynamic_imports(module: Path) -> list[str]:
    """List what a module imports by other means than `import` statements, as it is written."""
    return [
        ast.unparse(node.args[0])
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and re.search(r"(^|\.)(import_module|__import__|run_module)$", ast.unparse(node.func))
    ]


def used_paths(stage: str) -> set[str]:
    """The paths that a stage takes from cairn.paths."""
    literals = (
        getattr(paths, alias.name)
        for node in ast.walk(tree(work_of(stage)))
        if isinstance(node, ast.ImportFrom) and node.module == "cairn.paths"
        for alias in node.names
    )
    return {path.as_posix() for path in literals if isinstance(path, Path)}


def listed(entries: list[Any]) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def modules_of(dep: str) -> set[str]:
    """What a dep stands for: each module of a folder, or the file itself."""
    path = ROOT / dep
    files = path.rglob("*.py") if path.is_dir() else [path]
    return {file.relative_to(ROOT).as_posix() for file in files}


def module_of(stage: str) -> Path:
    command = STAGES[stage]["cmd"]
    assert command == f"python -m stages.{stage}"
    return Path("stages", f"{stage}.py")


def work_of(stage: str) -> Path:
    return WORK.get(stage, module_of(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_deps_list_each_module_that_runs_and_the_lock_of_the_environment(stage: str) -> None:
    code = {dep for dep in listed(STAGES[stage]["deps"]) if not dep.startswith("data/")}
    needed = reached(module_of(stage)) | {LOCKFILE}
    folders = {dep for dep in code if (ROOT / dep).is_dir()}
    covered = set().union(*map(modules_of, folders))
    assert code - folders == needed - covered
    fractions = {dep: len(modules_of(dep) & needed) / len(modules_of(dep)) for dep in folders}
    assert {dep: fraction for dep, fraction in fractions.items() if fraction < FOLDERS_WORTH} == {}


# Imports that the walk does not see, by what they import; none of them changes what a stage writes
# without another dep that does.
UNSEEN = {
    "cairn/console.py": ["spec.name"],  # the stage itself
    "cairn/modeling/estimators.py": ["module"],  # of scikit-learn or LightGBM: requirements.txt
    "cairn/params/base.py": ["WHOLE_FILE"],  # the check of all params, which writes nothing
    "cairn/transform.py": ["name"],  # stages/engineering.py, which the stages import as well
}


def test_no_other_import_hides_from_the_walk() -> None:
    modules = set().union(*(reached(module_of(stage)) for stage in STAGES))
    hidden = {module: dynamic_imports(Path(module)) for module in modules}
    assert {module: names for module, names in hidden.items() if names} == UNSEEN
    assert file.__name__ == base.WHOLE_FILE


def test_no_stage_depends_on_the_params_of_another() -> None:
    sections = {name: f"cairn/params/{name}.py" for name in file.Params.model_fields}
    for stage in STAGES:
        read = {stage, "compute", *listed(STAGES[stage]["params"])}
        others = {path for name, path in sections.items() if name not in read}
        assert not reached(module_of(stage)) & {*others, "cairn/params/file.py"}
        assert sections[stage] in reached(module_of(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_params_list_each_block_that_is_read(stage: str) -> None:
    listed = set(STAGES[stage]["params"]) - ENGINE
    own = {stage, "train"} if stage == "evaluate" else {stage}
    assert listed == blocks(stage) - {"compute"} == own


def test_only_what_is_learned_depends_on_where_it_was_computed() -> None:
    assert {stage for stage in STAGES if ENGINE & set(STAGES[stage]["params"])} == {"train"}


@pytest.mark.parametrize("stage", STAGES)
def test_paths_are_deps_or_outs(stage: str) -> None:
    entry = STAGES[stage]
    data = {dep for dep in listed(entry["deps"]) if dep.startswith("data/")}
    plots = {out for out in outs(stage) if out.startswith(f"{PLOTS}/")}
    products = outs(stage) - plots | ({PLOTS} if plots else set())
    assert used_paths(stage) == data | products


def test_every_out_is_a_file() -> None:
    """DVC verifies the bytes of files, but not the listing of a folder."""
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    hashes = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"]}
    assert set(hashes) == set().union(*map(outs, STAGES))
    assert not any(md5.endswith(".dir") for md5 in hashes.values())


def test_no_plot_card_or_interval_reruns_the_fit() -> None:
    code = set().union(*map(modules_of, STAGES["train"]["deps"]))
    used = {"__init__", "leaks", "metric_table", "metrics", "sampling", "threshold"}
    assert {path for path in code if path.startswith("cairn/evaluation/")} == {
        f"cairn/evaluation/{name}.py" for name in used
    }
    assert not any(path.startswith(("cairn/releases/", "cairn/provenance")) for path in code)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_says_its_postcondition(stage: str) -> None:
    assert STAGES[stage]["desc"]


def outs(stage: str) -> set[str]:
    return listed(STAGES[stage]["outs"]) | listed(STAGES[stage].get("metrics", []))


def test_every_data_dep_is_another_stages_out() -> None:
    products = set().union(*map(outs, STAGES))
    needed = {d for s in STAGES.values() for d in listed(s["deps"]) if d.startswith("data/")}
    assert needed <= products


def test_plots_are_of_files_that_evaluate_writes() -> None:
    files = {path for plot in DAG["plots"] for entry in plot.values() for path in entry["y"]}
    assert {Path(path).stem for path in files} == set(paths.PICTURES)
    drawn = {f"{PLOTS}/{name}.png" for name in paths.PICTURES}
    assert files | drawn <= outs("evaluate")


def test_the_walk_of_imports_sees_functions_and_both_forms() -> None:
    """Were `reached` blind, the test of deps would hold of nothing."""
    assert Path("cairn/provenance.py") in imports(Path("service/bento/store.py"))
    assert Path("cairn/paths.py") in imports(Path("stages/raw.py"))
    assert "cairn/inference.py" in reached(Path("cairn/evaluation/metrics.py"))
