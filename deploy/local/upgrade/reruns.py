"""Which stages run again after an upgrade, and why, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, NamedTuple

SHOWN = 4  # names before the rest is counted
PARAMS = "params.yaml"
CODE = ("cairn", "stages", "service")  # what their paths begin with is code
LOCKS = "requirements"  # what the names of the lists of packages begin with


class Rerun(NamedTuple):
    """A stage that `dvc repro` runs again.

    Attributes
    ----------
    stage
        Its name.
    reasons
        Why, in words.
    """

    stage: str
    reasons: tuple[str, ...]


def explain_reruns(
    status: Mapping[str, Sequence[Any]], stages: Mapping[str, Any], locked_stages: Mapping[str, Any]
) -> list[Rerun]:
    """Explain which stages run again.

    Parameters
    ----------
    status
        What `dvc status --json` prints.
    stages
        The stages of dvc.yaml, by name.
    locked_stages
        The stages of dvc.lock.

    Returns
    -------
    list of Rerun
        In the order of dvc.yaml: those that DVC calls changed, and those that read what they write.

    Examples
    --------
    >>> stages = {"raw": {"outs": ["data/a"]}, "train": {"deps": ["data/a"], "outs": ["data/b"]}}
    >>> status = {"raw": [{"changed deps": {"stages/raw.py": "modified"}}]}
    >>> for stage, reasons in explain_reruns(status, stages, {"raw": {}, "train": {}}):
    ...     print(stage, "; ".join(reasons), sep=": ")
    raw: code changed: stages/raw.py
    train: only if raw writes different data/a
    """
    writers = _writers(stages)
    reruns: dict[str, Rerun] = {}
    for name, stage in stages.items():
        changes = status.get(name, ())
        reasons = (
            _reasons(changes, _outs(locked_stages[name]))
            if name in locked_stages
            else ["new in this release"]
        )
        if not reasons:
            reasons = _inherited(stage, writers, reruns)
        if reasons:
            reruns[name] = Rerun(name, tuple(reasons))
    return list(reruns.values())


def find_stale(stages: Mapping[str, Any], locked_stages: Mapping[str, Any]) -> list[str]:
    """List what the stages of dvc.lock wrote, and those of dvc.yaml write no more.

    Of a folder of which nothing is written any more, the folder.

    >>> stages = {"train": {"outs": ["data/model/a"]}}
    >>> names = ("data/model/a", "data/model/b", "data/model/plots/c", "data/model/plots/d")
    >>> find_stale(stages, {"train": {"outs": [{"path": name} for name in names]}})
    ['data/model/b', 'data/model/plots']
    """
    written = _writers(stages)
    folders = {parent for path in written for parent in PurePosixPath(path).parents}
    stale = (
        path for stage in locked_stages.values() for path in _outs(stage) if path not in written
    )
    return list(dict.fromkeys(_outermost(PurePosixPath(path), folders) for path in stale))


def _outermost(path: PurePosixPath, folders: Collection[PurePosixPath]) -> str:
    """Return the outermost folder around a path that is none of some folders, or the path."""
    around = [path, *path.parents]
    return str(next((each for each, above in pairwise(around) if above in folders), path))


def _outs(stage: Mapping[str, Any]) -> list[str]:
    """List what a stage of dvc.lock wrote."""
    return [out["path"] for out in stage.get("outs", ())]


def _reasons(changes: Sequence[Any], known: Collection[str]) -> list[str]:
    """Put into words what DVC says of one stage, whose outs of before are known."""
    parts = [change for change in changes if isinstance(change, dict)]
    deps = {path: how for part in parts for path, how in part.get("changed deps", {}).items()}
    outs = [path for part in parts for path in part.get("changed outs", {})]
    kinds = {
        "code changed": sorted(
            (path for path in deps if path.partition("/")[0] in CODE),
            key=lambda path: not path.startswith("stages/"),  # the stage's own first
        ),
        "packages changed": [path for path in deps if path.startswith(LOCKS)],
        "params changed": _params(deps),
        "input changed": [path for path in deps if _is_input(path)],
        "output is new": [path for path in outs if path not in known],
        "output is not the one of dvc.lock (`dvc checkout` brings it)": [
            path for path in outs if path in known
        ],
    }
    texts = [f"{kind}: {_some(names)}" for kind, names in kinds.items() if names]
    words = {"changed command": "its command changed", "changed checksum": "its command changed"}
    return [*texts, *(words.get(change, change) for change in changes if isinstance(change, str))]


def _params(deps: Mapping[str, Any]) -> list[str]:
    """List the keys of params.yaml that changed, or the file where it is not there."""
    how = deps.get(PARAMS, {})
    return list(how) if isinstance(how, dict) else [PARAMS]


def _is_input(path: str) -> bool:
    return path != PARAMS and path.partition("/")[0] not in CODE and not path.startswith(LOCKS)


def _inherited(stage: Any, writers: Mapping[str, str], reruns: Mapping[str, Rerun]) -> list[str]:
    """Explain a stage that runs again only where another one writes something else than before."""
    reads = [path for path in _paths(stage, "deps") if writers.get(path) in reruns]
    by_writer: dict[str, list[str]] = {}
    for path in reads:
        by_writer.setdefault(writers[path], []).append(path)
    return [f"only if {name} writes different {_some(paths)}" for name, paths in by_writer.items()]


def _writers(stages: Mapping[str, Any]) -> dict[str, str]:
    """Return which stage writes each path."""
    kinds = ("outs", "metrics", "plots")
    return {
        path: name
        for name, stage in stages.items()
        for kind in kinds
        for path in _paths(stage, kind)
    }


def _paths(stage: Any, kind: str) -> list[str]:
    """Return the paths of a stage's deps or outs, which may be mappings with options."""
    entries = stage.get(kind, ())
    return [path for entry in entries for path in (entry if isinstance(entry, dict) else [entry])]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
