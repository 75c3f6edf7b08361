"""Write the model card: what the model is, how good, and where its limits are, for people to read.

Not a Jinja2 template: most of the card is sentences whose form depends on the facts, which are
functions here that mypy checks. It saw, for one, an interval that may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cairn.contract import NUMBERS, REASONS, Column, Contract
from cairn.evaluation.markdown import between, code, number, prose, scored, table
from cairn.evaluation.metric_table import METRICS, OVERALL, PER_CLASS
from cairn.evaluation.records import ClassScores, Evaluation, Interval, SliceScores, TableReport
from cairn.modeling.records import Copies, Search
from cairn.params.train import Train
from cairn.paths import PICTURES

MOST_COLUMNS = 50
MOST_CATEGORIES = 8
MOST_SLICES = 30
MOST_CLASSES = 100
FEW_ROWS = 100  # of the test, with which intervals are wide
FEW_OF_A_CLASS = 30
FEW_TO_CALIBRATE = 2000
UNEVEN = 5  # times as many rows in the largest class as in the smallest
CAPTIONS = {
    "confusion": "The true and the predicted class of the test rows",
    "roc": "ROC, each class against the rest",
    "precision_recall": "Precision and recall, each class against the rest",
    "calibration": "Observed fraction for each predicted probability",
    "importance": "Increase of the log loss when a column is shuffled",
    "learning": "Log loss by the number of training rows",
    "dependence": "Mean probability if a column had the same value in every row",
    "search": "The candidates of the search",
}


def write_card(
    contract: Contract,
    params: Train,
    evaluation: Evaluation,
    versions: Mapping[str, str],
    hashes: Mapping[str, str],
) -> str:
    """Write the model card in Markdown; its pictures are those in `plots` beside it.

    Parameters
    ----------
    contract
        As shipped: with the counts of the classes and the histograms of the training rows.
    params
        The block `train` of params.yaml.
    versions
        Library → version, as data/model/environment.json.
    hashes
        Path → MD5 of the files that the model was made from, as dvc.lock has them.
    """
    sections = {
        f"Model card of {code(params.name)}": _summary(contract, evaluation),
        "What it predicts": _target(contract),
        "Inputs": _columns(contract),
        "Data": _data(contract, evaluation, hashes),
        "Training": _training(params, contract, evaluation),
        "Scores": _scores(evaluation),
        "Scores by class": _classes(evaluation),
        "Scores by slice": _slices(evaluation),
        "Plots": _plots(),
        "Limits": _bullets(_limits(contract, evaluation)),
        "Library versions": _versions(versions),
        "Provenance": _provenance(),
    }
    marks = ["#", *["##"] * (len(sections) - 1)]
    parts = [
        f"{mark} {title}\n\n{text}"
        for mark, (title, text) in zip(marks, sections.items(), strict=True)
        if text
    ]
    return "\n\n".join(parts) + "\n"


def percent(value: float) -> str:
    """Write a fraction as a percentage.

    >>> percent(0.9561)
    '95.6%'
    """
    return f"{100 * value:.1f}%"


def _summary(contract: Contract, evaluation: Evaluation) -> str:
    rows, auc = evaluation.rows, evaluation.test["roc_auc"]
    ends = f" (95% interval {between(auc)})" if auc.ends else ""
    ranked = "" if auc.value is None else f"Its ROC AUC is {number(auc.value)}{ends}. "
    return (
        f"This model predicts {code(contract.target.name)} from "
        f"{_count(len(contract.columns), 'column')}. {ranked}"
        f"It predicts the right class for {_percent_between(evaluation.test['accuracy'])} of "
        f"{_count(rows.test, 'test row')}, none of which it was trained on."
    )


def _percent_between(score: Interval) -> str:
    """Write a fraction with its interval, as far as there are any.

    >>> _percent_between(Interval(0.95, 0.9, 1.0)), _percent_between(Interval(1.0))
    ('95.0% (90.0% to 100.0%)', '100.0%')
    """
    value = percent(score.value or 0)
    return f"{value} ({' to '.join(map(percent, score.ends))})" if score.ends else value


def _count(number: int, thing: str) -> str:
    """Write so many of a thing.

    >>> _count(1, "column"), _count(1200, "column")
    ('1 column', '1,200 columns')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _target(contract: Contract) -> str:
    counts = contract.target.counts or (0,) * len(contract.target.classes)
    total = max(1, sum(counts))
    rows = [
        (code(key), f"{count:,}", percent(count / total))
        for key, count in zip(contract.target.keys, counts, strict=True)
    ]
    return (
        f"{code(contract.target.name)}: one of {len(rows)} classes, with a probability for each."
        "\n\n" + table(("class", "training rows", "fraction"), rows)
    )


def _columns(contract: Contract) -> str:
    rows = [
        (code(column.header or column.name), column.kind, code(column.unit) if column.unit else "",
         _allowed(column), _range(contract, column), _missing(contract, column))
        for column in contract.columns[:MOST_COLUMNS]
    ]  # fmt: skip
    header = ("column", "kind", "unit", "allowed", "80% of training rows", "missing")
    more = len(contract.columns) - len(rows)
    engineered = sum(feature.column is None for feature in contract.features)
    texts = [
        table(header, rows),
        f"{_count(more, 'more column')}: see `contract.json`." if more > 0 else "",
        f"`stages/engineering.py` adds {_count(engineered, 'feature')}." if engineered else "",
        f"{code(contract.identifier)} identifies a row; the model does not use it."
        if contract.identifier
        else "",
        _left_out(contract) if contract.left_out else "",
    ]
    return "\n\n".join(filter(None, texts))


def _left_out(contract: Contract) -> str:
    """List the columns of the table that the model does not use, and why."""
    columns = [
        f"{code(column.header or column.name)} ({REASONS[column.reason]})"
        for column in contract.left_out[:MOST_COLUMNS]
    ]
    more = len(contract.left_out) - len(columns)
    others = f", and {more:,} more" if more > 0 else ""
    return f"Columns of the table that the model does not use: {', '.join(columns)}{others}."


def _allowed(column: Column) -> str:
    """Describe what a request may hold."""
    if column.kind == "category":
        some = ", ".join(map(code, column.categories[:MOST_CATEGORIES]))
        more = len(column.categories) - MOST_CATEGORIES
        others = ", or any other" if column.unknown else ""
        return some + (f" and {more} more" if more > 0 else "") + others
    if column.kind == "date":
        return f"a date; the model uses {', '.join(column.parts)}"
    if column.kind not in NUMBERS:
        return "true, false"
    low, high = column.minimum, column.maximum
    if low is None and high is None:
        return "any"
    ends = [f"{word} {end:g}" for word, end in (("from", low), ("to", high)) if end is not None]
    return " ".join(ends)


def _range(contract: Contract, column: Column) -> str:
    """Write the first and the ninth decile of a number, in its unit."""
    feature = next((each for each in contract.features if each.column == column.name), None)
    histogram = feature.histogram if feature else None
    if column.kind not in NUMBERS or not histogram or not histogram.edges:
        return ""
    return f"{histogram.edges[0]:g} to {histogram.edges[-1]:g}"


def _missing(contract: Contract, column: Column) -> str:
    """Say whether a value may be missing, and in how many training rows it is."""
    feature = next((each for each in contract.features if each.column == column.name), None)
    if not column.missing:
        return "not allowed"
    known = feature and feature.histogram
    return f"allowed; {known.missing:,} rows" if known else "allowed"


def _data(contract: Contract, evaluation: Evaluation, hashes: Mapping[str, str]) -> str:
    rows = evaluation.rows
    return (
        f"The model was fitted to {rows.train:,} rows. Another {rows.test:,} rows, with each class "
        "in the same proportion, were held out for the test. The section `features` of "
        f"`params.yaml`, in the same commit, defines the split. {_copies(evaluation.duplicates)}"
        f"{_set_aside(evaluation.table, contract)}\n\n"
        + table(("file", "MD5"), [(code(path), code(md5)) for path, md5 in hashes.items()])
    )


def _set_aside(report: TableReport | None, contract: Contract) -> str:
    """Say which rows of the table were not used, and what was read as missing."""
    if report is None:
        return ""
    texts = []
    if report.set_aside:
        problems = "; ".join(f"{code(what)} in {n:,}" for what, n in report.problems.items())
        texts.append(
            f"Of the {report.rows:,} rows of the table, {report.set_aside:,} were set aside: "
            f"{problems}."
        )
    if contract.target.rare:
        labels = ", ".join(code(str(label)) for label in contract.target.rare[:MOST_CATEGORIES])
        texts.append(f"These classes have too few rows and are not predicted: {labels}.")
    texts += [f"{code(what)} in {n:,} rows." for what, n in report.notes.items()]
    return "".join(f"\n\n{text}" for text in texts)


def _copies(duplicates: Copies) -> str:
    """Say how many rows are copies of another, and what that means."""
    copies, contradicting = duplicates.copies, duplicates.contradicting
    if not copies:
        return "No two rows have the same features."
    text = (
        f"{_count(copies, 'row')} {'has' if copies == 1 else 'have'} the same features as another "
        "row; a row and its copies are on the same side of the split, and in the same fold."
    )
    if not contradicting:
        return text
    return (
        f"{text} {_count(contradicting, 'row')} {'has' if contradicting == 1 else 'have'} the same "
        "features as another row but a different label, so no model can predict all of them right."
    )


def _training(params: Train, contract: Contract, evaluation: Evaluation) -> str:
    texts = [
        _estimator(params, evaluation.search),
        _preparation(params, evaluation.search),
        _decision(evaluation, contract),
        f"Seed: {params.seed}",
    ]
    return _bullets(text for text in texts if text)


def _estimator(params: Train, search: Search | None) -> str:
    if not search:
        arguments = ", ".join(f"{name}={value}" for name, value in params.arguments.items())
        return (
            f"Estimator: {code(params.estimator)}, "
            f"{code(arguments) if arguments else 'default arguments'}"
        )
    candidates = len({trial.candidate for trial in search.tried})
    return (
        f"Estimator: {code(search.best)} ({code(search.estimator)}), the best of "
        f"{_count(candidates, 'candidate')} by {METRICS[search.metric].title} in "
        f"{params.search.folds} folds of the training rows; search method: {search.method}"
    )


def _preparation(params: Train, search: Search | None) -> str:
    """List what stands around the estimator, where params.yaml has more than `auto` and `none`."""
    changed = search.changes if search else {}  # they are in the candidate's name
    settings = {
        "scale": "" if params.scale == "auto" else str(params.scale).lower(),
        "encode": "" if params.encode == "auto" else params.encode,
        "rare": f"{params.rare:g}" if params.rare else "",
        "calibration": "" if params.calibration == "none" else params.calibration,
        "early_stopping": str(params.early_stopping) if params.early_stopping else "",
    }
    return ", ".join(
        f"{name}: {value}" for name, value in settings.items() if value and name not in changed
    )


def _decision(evaluation: Evaluation, contract: Contract) -> str:
    threshold = evaluation.threshold
    if not threshold:
        return "Decision: the class with the highest probability"
    first, second = contract.target.classes
    other = first if threshold.label == second else second
    return (
        f"Decision: {_key(contract, threshold.label)} where its probability is at least "
        f"{threshold.value:g}, otherwise {_key(contract, other)}; rule: {code(threshold.rule)}"
    )


def _key(contract: Contract, label: object) -> str:
    return code(contract.target.keys[contract.target.classes.index(label)])


def _scores(evaluation: Evaluation) -> str:
    test, validation = evaluation.test, evaluation.cross_validation
    names = [name for name in OVERALL if name in test]
    header = ["score", "test rows", "95% interval"]
    rows = [
        [METRICS[name].description, number(test[name].value), between(test[name])] for name in names
    ]
    if not validation:
        return table(header, rows)
    header += ["cross-validation", "95% interval"]
    folds = [validation.scores.get(name, Interval(None)) for name in names]
    rows = [
        [*row, number(score.value), between(score)] for row, score in zip(rows, folds, strict=True)
    ]
    nested = ", each with a search of its own" if validation.nested else ""
    return table(header, rows) + (
        f"\n\nCross-validation: {validation.folds} folds of the training rows, repeated "
        f"{_count(validation.repeats, 'time')}{nested}. With more than two classes, ROC AUC and "
        "average precision are means over the classes, each against the rest."
    )


def _classes(evaluation: Evaluation) -> str:
    header = ["class", *(METRICS[name].title for name in PER_CLASS)]
    texts = [
        "Each class against the rest, with 95% intervals, on the test rows:",
        table(
            ["class", "test rows", *header[1:]],
            [[code(each.key), f"{each.rows or 0:,}", *_of_class(each)]
             for each in evaluation.classes[:MOST_CLASSES]],
        ),
    ]  # fmt: skip
    if evaluation.cross_validation:
        folds = evaluation.cross_validation.classes[:MOST_CLASSES]
        rows = [[code(each.key), *_of_class(each)] for each in folds]
        texts += ["By cross-validation:", table(header, rows)]
    more = len(evaluation.classes) - MOST_CLASSES
    return "\n\n".join(
        [*texts, *([f"{more} more classes: see `evaluation.json`."] if more > 0 else [])]
    )


def _of_class(of: ClassScores) -> list[str]:
    return [scored(of.scores[name]) for name in PER_CLASS]


def _slices(evaluation: Evaluation) -> str:
    """Write the scores of slices; nothing where no column was asked for."""
    slices = evaluation.slices
    if not slices:
        return ""
    names = [name for name in OVERALL if name in slices[0].scores]
    rows = [
        [code(each.column), code(each.value), f"{each.rows:,}",
         *(scored(each.scores[name]) for name in names)]
        for each in slices[:MOST_SLICES]
    ]  # fmt: skip
    header = ["column", "value", "test rows", *(METRICS[name].label for name in names)]
    more = len(slices) - len(rows)
    return table(header, rows) + (
        f"\n\n{more} more slices: see `evaluation.json`." if more > 0 else ""
    )


def _plots() -> str:
    return "\n\n".join(f"![{CAPTIONS[name]}](plots/{name}.png)" for name in PICTURES)


def _bullets(texts: Iterator[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _limits(contract: Contract, evaluation: Evaluation) -> Iterator[str]:
    """Yield the limits that follow from the facts, one item each."""
    yield from _leaks(contract, evaluation)
    yield (
        "Use it for rows like those that it was trained on. For rows from another source, or after "
        "things have changed, these scores mean little; the service measures how far the rows that "
        "it receives have drifted from the training rows."
    )
    yield (
        "It finds correlations in the data, not causes. It must not make decisions by itself that "
        "a person could not undo."
    )
    for note in evaluation.notes:
        yield f"{prose(note[:1].upper() + note[1:])}."
    yield from _few_rows(evaluation)
    yield from _uneven_classes(contract)
    yield from _worst_class(evaluation)
    yield from _worst_slice(evaluation)
    yield (
        "It knows the classes above and no others: a row of another class gets one of these, "
        "possibly with a high probability."
    )


def _leaks(contract: Contract, evaluation: Evaluation) -> Iterator[str]:
    for leak in evaluation.leaks:
        yield (
            f"**{code(leak.feature)} by itself predicts {code(contract.target.name)} almost "
            f"perfectly (AUC {leak.auc:.3f}).** It looks like the target in another form. If its "
            "value is not known at the time of prediction, every score here is too good: add it to "
            "`processed.drop` and train again."
        )


def _few_rows(evaluation: Evaluation) -> Iterator[str]:
    rows, accuracy = evaluation.rows.test, evaluation.test["accuracy"]
    if rows < FEW_ROWS and accuracy.ends:
        low, high = map(percent, accuracy.ends)
        yield (
            f"The test has only {_count(rows, 'row')}: the true accuracy may be anywhere from "
            f"{low} to {high}."
        )
    if rows < FEW_TO_CALIBRATE:
        yield (
            "With so few test rows the calibration error comes out too high, because chance "
            "moves each bin; the lower end of its interval allows for that."
        )
    rare = [each for each in _known_classes(evaluation) if (each.rows or 0) < FEW_OF_A_CLASS]
    if rare:
        least = min(rare, key=lambda each: each.rows or 0)
        yield (
            f"{len(rare)} of the {len(evaluation.classes)} classes have fewer than "
            f"{FEW_OF_A_CLASS} test rows ({code(least.key)} has {least.rows}), so their scores by "
            "class are rough."
        )


def _known_classes(evaluation: Evaluation) -> list[ClassScores]:
    """Return the classes that some test row has."""
    return [each for each in evaluation.classes if each.rows]


def _uneven_classes(contract: Contract) -> Iterator[str]:
    counts = contract.target.counts
    if counts and max(counts) >= UNEVEN * max(1, min(counts)):
        yield (
            "The classes are imbalanced: a model that always predicts the largest class has an "
            f"accuracy of {percent(max(counts) / sum(counts))} on the training rows. Look at "
            "balanced accuracy and at the scores by class instead."
        )


def _worst_class(evaluation: Evaluation) -> Iterator[str]:
    classes: Sequence[ClassScores] = _known_classes(evaluation)
    if not classes:
        return
    worst = min(classes, key=lambda each: each.scores["recall"].value or 0)
    yield (
        f"It misses {code(worst.key)} most often: it finds "
        f"{percent(worst.scores['recall'].value or 0)} of {_count(worst.rows or 0, 'test row')} "
        "of this class."
    )


def _worst_slice(evaluation: Evaluation) -> Iterator[str]:
    def accuracy(part: SliceScores) -> float:
        score = part.scores.get("accuracy")
        return 1.0 if score is None or score.value is None else score.value

    if evaluation.slices:
        worst = min(evaluation.slices, key=accuracy)
        yield (
            f"Of the slices above, it is worst where {code(worst.column)} is "
            f"{code(worst.value)}: it predicts the right class for {percent(accuracy(worst))} of "
            f"{_count(worst.rows, 'test row')}."
        )
    else:
        yield (
            "Nobody has checked whether it is equally good for every group of people or things: "
            "`evaluate.slices` names no column."
        )


def _versions(versions: Mapping[str, str]) -> str:
    return table(("library", "version"), [(code(k), code(v)) for k, v in versions.items()])


def _provenance() -> str:
    return (
        "`GET /model` of the service returns the full provenance of the model that answers: git "
        "commit, hashes of data and stages from `dvc.lock`, parameters, scores and library "
        "versions. To get all of it, check out that commit with `git checkout` and run `dvc pull`; "
        "`dvc repro` rebuilds the model bit for bit."
    )
