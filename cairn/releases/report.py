"""report: what the model of this folder has become against another commit's, in build/report.

`make report` and CI call it; what it writes is Markdown, with the pictures beside it.
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
from cairn.console import CairnError, patience, say
from cairn.contract import read_contract
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
from cairn.releases import comparison, promotion, revision
from cairn.releases.commands import dvc, git
from cairn.releases.comparison import Difference
from cairn.releases.versions import shown
from cairn.yaml_text import parse_yaml

OUT = Path("build/report")
NAME = "report.md"
CROSS = "cross_validation"
WHOLE = (
    ONNX,
    MODEL_CONTRACT,
    METRICS,
    EVALUATION,
)  # the same in both: so is all that is said of them
END = 0.975  # confidence of each end of an interval of 95 %
DIGITS = 4  # of a score
SHORT = 7  # digits of a commit
SMALL = 0.001  # difference that is shown with one more digit
LONG = 60  # characters of a parameter's value that are shown


class Base(NamedTuple):
    """The commit that the model is held against, and what people call it."""

    name: str
    commit: str

    @property
    def scores(self) -> dict[str, Any]:
        """Its metrics.json; none where the commit has no such file."""
        try:
            path = self.outs[METRICS].path.as_posix()
            return dict(json.loads(git("show", f"{self.commit}:./{path}")))
        except (CairnError, LookupError):
            return {}

    @property
    def target(self) -> str:
        """What it predicts; nothing where git has no such contract."""
        try:
            text = git("show", f"{self.commit}:./{CONTRACT.as_posix()}")
            said = parse_yaml(text, str(CONTRACT))["target"]
            return _target(said["name"], said["classes"])
        except (CairnError, LookupError, TypeError):
            return ""

    @property
    def outs(self) -> dict[Path, revision.Out]:
        """What its stages made; nothing where they never ran."""
        try:
            return revision.outs(self.commit)
        except CairnError:
            return {}


class Paired(NamedTuple):
    """How the scores of the two differ on the same rows, score by score, and which rows."""

    found: Mapping[str, Difference]
    note: str


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m cairn.releases.report", description=__doc__)
    parser.add_argument("base", help="a commit, such as main")
    parser.add_argument("url", nargs="?", default=".", help="where the pictures will be")
    told = parser.parse_args()
    # A remote that does not answer is not asked for minutes.
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "1")
    say(f"report: {write(told.base, told.url)}")


def write(base: str, url: str = ".") -> Path:
    """Write the report and its pictures, in place of the one before.

    Parameters
    ----------
    base
        The commit, in any of git's words.
    url
        Where the pictures will be when it is read.

    Raises
    ------
    CairnError
        Where git knows no such commit, or there is no model here.
    """
    against = _base(base)
    text = "\n\n".join([*_texts(against), "#### Pictures", *_pictures(against, url)])
    (OUT / NAME).write_text(f"{text}\n", encoding="utf-8")
    return OUT / NAME


def _base(name: str) -> Base:
    """The commit of that name; the folder is empty then."""
    provenance.ask_git("rev-parse", "--git-dir")  # what keeps git from reading any is told as that
    try:
        commit = git("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}").strip()
    except CairnError:
        raise CairnError(f"git knows no commit {shown(name)}; `git fetch` may bring it") from None
    for path in (METRICS, EVALUATION, *map(_picture, PICTURES)):
        provenance.hash_file(path, "md5")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    return Base(commit[:SHORT] if commit.startswith(name) else name, commit)


def _picture(name: str) -> Path:
    return PLOTS / f"{name}.png"


def _texts(base: Base) -> Iterator[str]:
    """The report, but for the pictures."""
    yield f"### The model against {base.name} ({base.commit[:SHORT]})"
    yield "#### Scores"
    outs = base.outs
    if any(_changed(path, outs) for path in WHOLE):
        with patience("report: comparing the two models"):
            compared = paired(base)
        yield _scores(base, compared.found)
        yield f"{compared.note[:1].upper()}{compared.note[1:]}."
    else:
        yield "None changed: it is the same model, byte for byte."
    yield "#### Parameters"
    yield _params(base)


def _scores(base: Base, compared: Mapping[str, Difference]) -> str:
    """The table of scores, of the test rows and then of the cross-validation."""
    mine = read_contract(MODEL_CONTRACT).target
    # Of another target they measure nothing of this one.
    before = base.scores if base.target in {"", _target(mine.name, mine.classes)} else {}
    now = json.loads(METRICS.read_bytes())
    evaluation = json.loads(EVALUATION.read_bytes())
    cross = evaluation.get(CROSS) or {}
    rows = score_rows(before.get("test", {}), now["test"], evaluation["test"], compared)
    more = score_rows(before.get(CROSS, {}), now.get(CROSS, {}), cross.get("scores", {}), {})
    head = ["score", base.name, "this", "change", "this lies, to 95 %", "this is"]
    return table(head, [*rows, *([f"{row[0]}, cross-validated", *row[1:]] for row in more)])


def _target(name: str, classes: Iterable[object]) -> str:
    return f"{name}: {', '.join(map(repr, classes))}"


def score_rows(
    before: Mapping[str, float],
    now: Mapping[str, float],
    intervals: Mapping[str, Any],
    compared: Mapping[str, Difference],
) -> list[list[str]]:
    """Each score: its name, of both, the change, the interval of the second, and what that means.

    Parameters
    ----------
    before, now
        Score → value. The first may lack some.
    intervals
        Score → its `low` and `high`, of `now`.
    compared
        Score → the difference on the same rows, where both were asked about them.
    """
    return [
        [
            name,
            number(before.get(name), DIGITS),
            number(value, DIGITS),
            _signed(value - before[name]) if name in before else NONE,
            between(intervals[name], DIGITS),
            verdict(name, compared[name])
            if name in compared
            else _placed(before.get(name), intervals[name]),
        ]
        for name, value in now.items()
        if name in intervals
    ]


def verdict(name: str, found: Difference) -> str:
    """What a difference on the same rows says, with its interval.

    >>> verdict("log_loss", Difference(0.1, 0.2, -0.15, -0.05))
    'better: -0.1500 to -0.0500'
    >>> verdict("roc_auc", Difference(0.99995, 0.99991, 0.00002, 0.00006))
    'better: +0.00002 to +0.00006'
    """
    if found.low == found.high == 0:
        return "the same"
    low, high = (-found.high, -found.low) if name in LOSSES else (found.low, found.high)
    word = "better" if low > 0 else "worse" if high < 0 else "within the noise"
    return f"{word}: {_signed(found.low)} to {_signed(found.high)}"


def _signed(value: float) -> str:
    """A difference, with more digits where four say nothing."""
    return f"{value:+.5f}" if 0 < abs(value) < SMALL else f"{value:+.4f}"


def _placed(before: float | None, interval: Mapping[str, float]) -> str:
    """Where the score of the base is, if just this one has an interval."""
    if before is None or interval["low"] is None:
        return NONE
    inside = interval["low"] <= before <= interval["high"]
    return "within the interval" if inside else "outside the interval"


def paired(base: Base) -> Paired:
    """Both models asked about the test rows of this one that the base was not trained on."""
    try:
        more = promotion.looked_through(base.commit)
        with revision.files(base.commit, (MODEL_CONTRACT, ONNX, *more)) as theirs:
            return _compared(base.name, theirs)
    except CairnError as error:
        return Paired({}, f"the two were not asked about the same rows: {error}")


def _compared(name: str, theirs: Path) -> Paired:
    mine = comparison.load(Path(), "this")
    asked = promotion.Asked(mine, comparison.read(TEST, mine.contract), promotion.NOTHING)
    sides = promotion.compared(asked, comparison.load(theirs, name), theirs / TRAIN)
    models = sides.candidate, sides.production
    found = {
        score: comparison.difference(score, *models, sides.classes, END) for score in metrics.SCORES
    }
    note = "what this is, with the difference to 95 %, is from asking both about the same rows"
    return Paired(found, f"{note}: {sides.note}")


def _params(base: Base) -> str:
    """The table of the parameters that changed."""
    changed = json.loads(dvc("params", "diff", base.commit, "--json"))
    rows = [
        [f"`{name}`", *(_value(change[side]) for side in ("old", "new"))]
        for block in changed.values()
        for name, change in sorted(block.items())
    ]
    return table(["parameter", base.name, "this"], rows) if rows else "None changed."


def _value(value: object) -> str:
    """A parameter's value, not too long; DVC tells null and none apart no more than this does."""
    text = NONE if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"


def _pictures(base: Base, url: str) -> Iterator[str]:
    """The pictures that changed, side by side, and a line on the others."""
    named = base.outs
    changed = [name for name in PICTURES if _changed(_picture(name), named)]
    same = [name for name in PICTURES if name not in changed]
    new = [name for name in changed if _picture(name) not in named]
    for name in changed:
        shutil.copyfile(_picture(name), OUT / f"this-{name}.png")
    lost = _fetched(base, [name for name in changed if name not in new])
    if changed:
        yield table([base.name, "this"], [_beside(name, base.name, url) for name in changed])
    yield from _lines(base.name, same, new, lost)


def _lines(base: str, same: Sequence[str], new: Sequence[str], lost: str) -> Iterator[str]:
    """What is to be said of pictures that are not there."""
    if not json.loads(EVALUATION.read_bytes())["search"]:
        same = [name for name in same if name != "search"]  # it says that there was none
    if same:
        yield f"The same in both: {', '.join(same)}."
    if new:
        yield f"{base} has none of these: {', '.join(new)}."
    if lost:
        yield f"The pictures of {base} cannot be had: {lost}."


def _changed(path: Path, named: Mapping[Path, revision.Out]) -> bool:
    return path not in named or named[path].md5 != provenance.hash_file(path, "md5")


def _fetched(base: Base, names: Iterable[str]) -> str:
    """Put pictures of the base beside the report; returns why that cannot be."""
    paths = [_picture(name) for name in names]
    try:
        with revision.files(base.commit, paths) as folder:
            for path in paths:
                shutil.copyfile(folder / path, OUT / f"base-{path.name}")
    except CairnError as error:
        return str(error)
    return ""


def _beside(name: str, base: str, url: str) -> list[str]:
    """A picture of both, as cells of a table."""
    there = (OUT / f"base-{name}.png").is_file()
    left = f"![{name} of {base}]({url}/base-{name}.png)" if there else NONE
    return [left, f"![{name} of this]({url}/this-{name}.png)"]


if __name__ == "__main__":
    console.run(main)
