"""report: compare the model of this folder with that of another commit, in build/report.

`make report` and CI call it. It writes Markdown, with the pictures beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cairn import console, provenance
from cairn.console import patience, say
from cairn.contract import read_contract
from cairn.errors import CairnError
from cairn.evaluation import metrics
from cairn.evaluation.markdown import NONE, between, number, table
from cairn.evaluation.metrics import LOSSES
from cairn.paths import (
    CONTRACT,
    EVALUATION,
    METRICS,
    MODEL_CONTRACT,
    ONNX,
    PICTURES,
    PLOTS,
    TEST,
    TRAIN,
)
from cairn.releases import checks, comparison, revision
from cairn.releases.commands import dvc, git
from cairn.releases.comparison import ScoreDifference
from cairn.releases.versions import quote
from cairn.yaml_text import parse_yaml

OUT = Path("build/report")
FILE = "report.md"
CROSS = "cross_validation"
# If these are equal in both, so is everything that the report would say about the models.
MODEL_FILES = (ONNX, MODEL_CONTRACT, METRICS, EVALUATION)
END = 0.975  # confidence of each end of an interval of 95%
DIGITS = 4  # of a score
SHORT = 7  # digits of a commit
SMALL = 0.001  # differences below this get one more digit
MAX_VALUE = 60  # characters of a parameter's value


class Base(NamedTuple):
    """The commit to compare with, and the name that the user gave it."""

    name: str
    commit: str

    @property
    def scores(self) -> dict[str, Any]:
        """Its metrics.json; empty if the commit has no such file."""
        try:
            path = self.outs[METRICS].path.as_posix()
            return dict(json.loads(git("show", f"{self.commit}:./{path}")))
        except (CairnError, LookupError):
            return {}

    @property
    def target(self) -> str:
        """Its target; empty if the commit has no contract that can be read."""
        try:
            text = git("show", f"{self.commit}:./{CONTRACT.as_posix()}")
            target = parse_yaml(text, str(CONTRACT))["target"]
            return _describe_target(target["name"], target["classes"])
        except (CairnError, LookupError, TypeError):
            return ""

    @property
    def outs(self) -> dict[Path, revision.Out]:
        """The outputs of its stages; empty if they never ran."""
        try:
            return revision.list_outs(self.commit)
        except CairnError:
            return {}


class PairedScores(NamedTuple):
    """The differences of the scores on the same rows, by score, and which rows."""

    differences: Mapping[str, ScoreDifference]
    note: str


def main() -> None:
    """Write the report for the commit of the command line."""
    parser = argparse.ArgumentParser(prog="python -m cairn.releases.report", description=__doc__)
    parser.add_argument("base", help="a commit, such as main")
    parser.add_argument("url", nargs="?", default=".", help="the address of the pictures")
    options = parser.parse_args()
    # Do not wait minutes for a remote that does not answer.
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "1")
    say(f"report: {write_report(options.base, options.url)}")


def write_report(base: str, url: str = ".") -> Path:
    """Write the report and its pictures, and replace an earlier one.

    Parameters
    ----------
    base
        The commit, by any name that git knows.
    url
        The address of the pictures when the report is read.

    Raises
    ------
    CairnError
        If git knows no such commit, or there is no model in this folder.
    """
    against = _resolve_base(base)
    sections = [*_iterate_sections(against), "#### Pictures", *_format_pictures(against, url)]
    text = "\n\n".join(sections)
    (OUT / FILE).write_text(f"{text}\n", encoding="utf-8")
    return OUT / FILE


def _resolve_base(name: str) -> Base:
    """Resolve the name of a commit, and empty the folder of the report."""
    provenance.ask_git("rev-parse", "--git-dir")  # raises what keeps git from reading any commit
    try:
        commit = git("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}").strip()
    except CairnError:
        raise CairnError(f"git knows no commit {quote(name)}; `git fetch` may bring it") from None
    for path in (METRICS, EVALUATION, *map(_get_picture, PICTURES)):
        provenance.hash_file(path, "md5")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    return Base(commit[:SHORT] if commit.startswith(name) else name, commit)


def _get_picture(name: str) -> Path:
    return PLOTS / f"{name}.png"


def _iterate_sections(base: Base) -> Iterator[str]:
    """Yield the sections of the report before the pictures."""
    yield f"### The model against {base.name} ({base.commit[:SHORT]})"
    yield "#### Scores"
    outs = base.outs
    if any(_is_changed(path, outs) for path in MODEL_FILES):
        with patience("report: comparing the two models"):
            compared = compare_models(base)
        yield _format_scores(base, compared.differences)
        yield f"{compared.note[:1].upper()}{compared.note[1:]}."
    else:
        yield "The scores are unchanged: this is the same model, byte for byte."
    yield "#### Parameters"
    yield _format_params(base)


def _format_scores(base: Base, compared: Mapping[str, ScoreDifference]) -> str:
    """Format the table of scores: on the test rows, then from cross-validation."""
    model = read_contract(MODEL_CONTRACT).target
    # Scores for another target say nothing about this one.
    before = base.scores if base.target in {"", _describe_target(model.name, model.classes)} else {}
    now = json.loads(METRICS.read_bytes())
    evaluation = json.loads(EVALUATION.read_bytes())
    cross = evaluation.get(CROSS) or {}
    rows = list_score_rows(before.get("test", {}), now["test"], evaluation["test"], compared)
    more = list_score_rows(before.get(CROSS, {}), now.get(CROSS, {}), cross.get("scores", {}), {})
    head = ["score", base.name, "this", "change", "95% interval of this", "this is"]
    return table(head, [*rows, *([f"{row[0]}, cross-validated", *row[1:]] for row in more)])


def _describe_target(name: str, classes: Iterable[object]) -> str:
    return f"{name}: {', '.join(map(repr, classes))}"


def list_score_rows(
    before: Mapping[str, float],
    now: Mapping[str, float],
    intervals: Mapping[str, Any],
    compared: Mapping[str, ScoreDifference],
) -> list[list[str]]:
    """List each score: name, both values, change, interval of the second, and what that means.

    Parameters
    ----------
    before, now
        Score → value. The first may lack some.
    intervals
        Score → its `low` and `high`, of `now`.
    compared
        Score → the difference on the same rows, if both predicted them.
    """
    return [
        [
            name,
            number(before.get(name), DIGITS),
            number(value, DIGITS),
            _format_signed(value - before[name]) if name in before else NONE,
            between(intervals[name], DIGITS),
            describe_difference(name, compared[name])
            if name in compared
            else _locate_score(before.get(name), intervals[name]),
        ]
        for name, value in now.items()
        if name in intervals
    ]


def describe_difference(name: str, difference: ScoreDifference) -> str:
    """Describe a difference on the same rows, with its interval.

    >>> describe_difference("log_loss", ScoreDifference(0.1, 0.2, -0.15, -0.05))
    'better: -0.1500 to -0.0500'
    >>> describe_difference("roc_auc", ScoreDifference(0.99995, 0.99991, 0.00002, 0.00006))
    'better: +0.00002 to +0.00006'
    """
    low, high = difference.low, difference.high
    if low == high == 0:
        return "the same"
    is_gain, is_loss = (high < 0, low > 0) if name in LOSSES else (low > 0, high < 0)
    word = "better" if is_gain else "worse" if is_loss else "within the noise"
    return f"{word}: {_format_signed(low)} to {_format_signed(high)}"


def _format_signed(value: float) -> str:
    """Format a difference, with one more digit if it is small."""
    return f"{value:+.5f}" if 0 < abs(value) < SMALL else f"{value:+.4f}"


def _locate_score(before: float | None, interval: Mapping[str, float]) -> str:
    """Say whether the base's score is in the interval of this one, if that is all there is."""
    if before is None or interval["low"] is None:
        return NONE
    is_inside = interval["low"] <= before <= interval["high"]
    return "within the interval" if is_inside else "outside the interval"


def compare_models(base: Base) -> PairedScores:
    """Compare both models on the test rows of this one that the base was not trained on."""
    try:
        more = checks.list_training_files(base.commit)
        with revision.open_files(base.commit, (MODEL_CONTRACT, ONNX, *more)) as folder:
            return _compare(base.name, folder)
    except CairnError as error:
        return PairedScores({}, f"the two models could not be compared on the same rows: {error}")


def _compare(name: str, folder: Path) -> PairedScores:
    model = comparison.load_model(Path(), "this")
    candidate = checks.Candidate(model, comparison.read_rows(TEST, model.contract), checks.NOTHING)
    compared = checks.compare(candidate, comparison.load_model(folder, name), folder / TRAIN)
    models = compared.candidate, compared.production
    differences = {
        score: comparison.compute_difference(score, *models, compared.classes, END)
        for score in metrics.SCORES
    }
    note = "the last column has the 95% interval of the difference on the same rows"
    return PairedScores(differences, f"{note}: {compared.note}")


def _format_params(base: Base) -> str:
    """Format the table of the parameters that changed."""
    changed = json.loads(dvc("params", "diff", base.commit, "--json"))
    rows = [
        [f"`{name}`", *(_format_value(change[side]) for side in ("old", "new"))]
        for params in changed.values()
        for name, change in sorted(params.items())
    ]
    return table(["parameter", base.name, "this"], rows) if rows else "No parameter changed."


def _format_value(value: object) -> str:
    """Format a parameter's value, cut if it is long; null and a missing one look the same."""
    text = NONE if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _format_pictures(base: Base, url: str) -> Iterator[str]:
    """Format the pictures that changed, side by side, and a line about the others."""
    outs = base.outs
    changed = [name for name in PICTURES if _is_changed(_get_picture(name), outs)]
    same = [name for name in PICTURES if name not in changed]
    new = [name for name in changed if _get_picture(name) not in outs]
    for name in changed:
        shutil.copyfile(_get_picture(name), OUT / f"this-{name}.png")
    problem = _fetch_pictures(base, [name for name in changed if name not in new])
    if changed:
        yield table([base.name, "this"], [_list_cells(name, base.name, url) for name in changed])
    yield from _describe_others(base.name, same, new, problem)


def _describe_others(
    base: str, same: Sequence[str], new: Sequence[str], problem: str
) -> Iterator[str]:
    """Describe the pictures that are not shown for both."""
    if not json.loads(EVALUATION.read_bytes())["search"]:
        same = [name for name in same if name != "search"]  # it is empty
    if same:
        yield f"Unchanged: {', '.join(same)}."
    if new:
        yield f"{base} does not have these: {', '.join(new)}."
    if problem:
        yield f"The pictures of {base} are not available: {problem}."


def _is_changed(path: Path, outs: Mapping[Path, revision.Out]) -> bool:
    return path not in outs or outs[path].md5 != provenance.hash_file(path, "md5")


def _fetch_pictures(base: Base, names: Iterable[str]) -> str:
    """Copy pictures of the base beside the report; return what prevents that, if anything."""
    paths = [_get_picture(name) for name in names]
    try:
        with revision.open_files(base.commit, paths) as folder:
            for path in paths:
                shutil.copyfile(folder / path, OUT / f"base-{path.name}")
    except CairnError as error:
        return str(error)
    return ""


def _list_cells(name: str, base: str, url: str) -> list[str]:
    """List the cells of a table with a picture of both."""
    there = (OUT / f"base-{name}.png").is_file()
    left = f"![{name} of {base}]({url}/base-{name}.png)" if there else NONE
    return [left, f"![{name} of this]({url}/this-{name}.png)"]


if __name__ == "__main__":
    console.run(main)
