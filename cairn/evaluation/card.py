"""The model card: what the model is, how good, and where its limits are, for people to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cairn.contract import NUMBERS, REASONS, Column, Contract
from cairn.evaluation.markdown import NONE, between, code, number, prose, scored, table
from cairn.params import Train
from cairn.paths import PICTURES

MOST_COLUMNS = 50
MOST_CATEGORIES = 8
MOST_SLICES = 30
MOST_CLASSES = 100
FEW_ROWS = 100  # of the test, with which intervals are wide
FEW_OF_A_CLASS = 30
FEW_TO_CALIBRATE = 2000
UNEVEN = 5  # times as many rows in the largest class as in the smallest
SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "F1, mean of the classes",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "log_loss": "log loss (nats), lower is better",
    "brier": "Brier score, lower is better",
    "calibration_error": "calibration error, lower is better",
}
CLASS_SCORES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
SEEN = {
    "confusion": "What is true of the test rows and what was predicted",
    "roc": "ROC, each class against the rest",
    "precision_recall": "Precision and recall, each class against the rest",
    "calibration": "Share observed for the probability predicted",
    "importance": "Growth of the log loss when a column is shuffled",
    "learning": "Log loss by the number of training rows",
    "dependence": "Mean probability, were a column the same in every row",
    "search": "The candidates of the search",
}
Evaluation = Mapping[str, Any]


def card(
    contract: Contract,
    block: Train,
    evaluation: Evaluation,
    versions: Mapping[str, str],
    hashes: Mapping[str, str],
) -> str:
    """The model card in Markdown, whose pictures are those in `plots` beside it.

    Parameters
    ----------
    contract
        As shipped: with the counts of the classes and the histograms of the training rows.
    evaluation
        What data/model/evaluation.json holds.
    versions
        Library → version, as data/model/environment.json.
    hashes
        Path → MD5 of the files that the model was made from, as dvc.lock has them.
    """
    sections = {
        f"Model card of {code(block.name)}": _summary(contract, evaluation),
        "What it predicts": _target(contract),
        "From what": _columns(contract),
        "Data": _data(contract, evaluation, hashes),
        "How it was made": _made(block, contract, evaluation),
        "How good it is": _scores(evaluation),
        "Each class": _classes(evaluation),
        "Parts of the test rows": _slices(evaluation),
        "Pictures": _pictures(),
        "Limits": _limits(contract, evaluation),
        "Made with": _versions(versions),
        "Where it comes from": _origin(),
    }
    marks = ["#", *["##"] * (len(sections) - 1)]
    parts = [
        f"{mark} {title}\n\n{text}"
        for mark, (title, text) in zip(marks, sections.items(), strict=True)
        if text
    ]
    return "\n\n".join(parts) + "\n"


def share(value: float) -> str:
    """A share as a percentage.

    >>> share(0.9561)
    '95.6 %'
    """
    return f"{100 * value:.1f} %"


def _summary(contract: Contract, evaluation: Evaluation) -> str:
    score, rows = evaluation["test"]["accuracy"], evaluation["rows"]
    auc = evaluation["test"]["roc_auc"]
    ends = "" if auc["low"] is None else f" (95 % interval {between(auc)})"
    ranked = "" if auc["value"] is None else f"its ROC AUC is {number(auc['value'])}{ends}, and "
    return (
        f"It predicts {code(contract.target.name)} from "
        f"{_count(len(contract.columns), 'column')}. On "
        f"{_count(rows['test'], 'test row')} that it has not learned from, {ranked}"
        f"{_right(score)} are predicted right."
    )


def _right(score: Mapping[str, float | None]) -> str:
    """A share with its interval, as far as it can be said."""
    value, low, high = (share(score[name] or 0) for name in ("value", "low", "high"))
    return value if score["low"] is None else f"{value} ({low} to {high})"


def _count(number: int, thing: str) -> str:
    """So many of a thing.

    >>> _count(1, "column"), _count(1200, "column")
    ('1 column', '1,200 columns')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _target(contract: Contract) -> str:
    counts = contract.target.counts or (0,) * len(contract.target.classes)
    whole = max(1, sum(counts))
    rows = [
        (code(key), f"{count:,}", share(count / whole))
        for key, count in zip(contract.target.keys, counts, strict=True)
    ]
    return (
        f"{code(contract.target.name)}: one of {len(rows)} classes, and the probability of each."
        "\n\n" + table(("class", "training rows", "share"), rows)
    )


def _columns(contract: Contract) -> str:
    rows = [
        (code(column.header or column.name), column.kind, code(column.unit) if column.unit else "",
         _allowed(column), _seen(contract, column), _missing(contract, column))
        for column in contract.columns[:MOST_COLUMNS]
    ]  # fmt: skip
    header = ("column", "kind", "unit", "allowed", "80 % of training rows", "missing")
    more = len(contract.columns) - len(rows)
    said = [table(header, rows), f"And {more:,} more, in `contract.json`." if more > 0 else ""]
    made = sum(feature.column is None for feature in contract.features)
    if made:
        said.append(f"{_count(made, 'feature')} more made by `stages/engineering.py`.")
    if contract.identifier:
        said.append(f"{code(contract.identifier)} names a row; the model does not see it.")
    if contract.left_out:
        said.append(_left_out(contract))
    return "\n\n".join(filter(None, said))


def _left_out(contract: Contract) -> str:
    """Which columns of the table the model does not see, and why."""
    listed = [
        f"{code(column.header or column.name)} ({REASONS[column.reason]})"
        for column in contract.left_out[:MOST_COLUMNS]
    ]
    more = len(contract.left_out) - len(listed)
    others = f", and {more:,} more" if more > 0 else ""
    return f"Columns of the table that are not used: {', '.join(listed)}{others}."


def _allowed(column: Column) -> str:
    """What a request may hold."""
    if column.kind == "category":
        some = ", ".join(map(code, column.categories[:MOST_CATEGORIES]))
        more = len(column.categories) - MOST_CATEGORIES
        others = ", or any other" if column.unknown else ""
        return some + (f" and {more} more" if more > 0 else "") + others
    if column.kind == "date":
        return f"a date; used: {', '.join(column.parts)}"
    if column.kind not in NUMBERS:
        return "true, false"
    low, high = column.minimum, column.maximum
    if low is None and high is None:
        return "any"
    ends = [f"{word} {end:g}" for word, end in (("from", low), ("to", high)) if end is not None]
    return " ".join(ends)


def _seen(contract: Contract, column: Column) -> str:
    """The first and the ninth decile of a number, in its unit."""
    feature = next((each for each in contract.features if each.column == column.name), None)
    histogram = feature.histogram if feature else None
    if column.kind not in NUMBERS or not histogram or not histogram.edges:
        return ""
    return f"{histogram.edges[0]:g} to {histogram.edges[-1]:g}"


def _missing(contract: Contract, column: Column) -> str:
    """Whether a value may be missing, and in how many training rows it is."""
    feature = next((each for each in contract.features if each.column == column.name), None)
    if not column.missing:
        return "no"
    return (
        f"may be; is in {feature.histogram.missing:,}"
        if feature and feature.histogram
        else "may be"
    )


def _data(contract: Contract, evaluation: Evaluation, hashes: Mapping[str, str]) -> str:
    rows = evaluation["rows"]
    return (
        f"It was fitted to {rows['train']:,} rows, and {rows['test']:,} more, each class in "
        "proportion, were held out to test it. How they were split stands in `params.yaml`, block "
        f"`features`, of the same commit. {_copies(evaluation['duplicates'])}"
        f"{_set_aside(evaluation.get('table') or {}, contract)}\n\n"
        + table(("file", "MD5"), [(code(path), code(md5)) for path, md5 in hashes.items()])
    )


def _set_aside(report: Mapping[str, Any], contract: Contract) -> str:
    """Which rows of the table were not used, and what was taken for missing."""
    if not report:
        return ""
    said = []
    if report["set_aside"]:
        problems = "; ".join(f"{code(what)} in {n:,}" for what, n in report["problems"].items())
        said.append(
            f"Of {report['rows']:,} rows of the table {report['set_aside']:,} were set aside: "
            f"{problems}."
        )
    if contract.target.rare:
        labels = ", ".join(code(str(label)) for label in contract.target.rare[:MOST_CATEGORIES])
        said.append(f"Classes with too few rows are not predicted: {labels}.")
    said += [f"{code(what)} in {n:,} rows." for what, n in report["notes"].items()]
    return "".join(f"\n\n{text}" for text in said)


def _copies(duplicates: Mapping[str, int]) -> str:
    """How many rows are copies of another, and what that means."""
    copies, contradicting = duplicates["copies"], duplicates["contradicting"]
    if not copies:
        return "No two rows are alike in every feature."
    said = (
        f"{_count(copies, 'row')} {'is a copy' if copies == 1 else 'are copies'} of another in "
        "every feature; a row and its copies are on one side, in the folds too."
    )
    if not contradicting:
        return said
    return (
        f"{said} {contradicting:,} rows have the features of another row and a different label: no "
        "model can get all of them right."
    )


def _made(block: Train, contract: Contract, evaluation: Evaluation) -> str:
    said = [
        _fitted(block, evaluation["search"]),
        _prepared(block, evaluation["search"]),
        _decided(evaluation, contract),
    ]
    return "\n".join(f"- {each}" for each in said if each) + f"\n- Seed: {block.seed}"


def _fitted(block: Train, search: Mapping[str, Any] | None) -> str:
    if not search:
        arguments = ", ".join(f"{name}={value}" for name, value in block.arguments.items())
        return f"{code(block.estimator)}, {code(arguments) if arguments else 'as it comes'}"
    tried = len({each["candidate"] for each in search["tried"]})
    return (
        f"{code(search['best'])} ({code(search['estimator'])}), by a search: {search['method']}, "
        f"{_count(tried, 'candidate')}, chosen by {SCORES[search['metric']].partition(',')[0]}, in "
        f"{block.search.folds} folds of the training rows"
    )


def _prepared(block: Train, search: Mapping[str, Any] | None) -> str:
    """What stands around the estimator, where params.yaml says more than `auto` and `none`."""
    changed = search["changes"] if search else ()  # they stand in the candidate's name
    said = {
        "scale": "" if block.scale == "auto" else str(block.scale).lower(),
        "encode": "" if block.encode == "auto" else block.encode,
        "rare": f"{block.rare:g}" if block.rare else "",
        "calibration": "" if block.calibration == "none" else block.calibration,
        "early_stopping": str(block.early_stopping) if block.early_stopping else "",
    }
    return ", ".join(
        f"{name}: {value}" for name, value in said.items() if value and name not in changed
    )


def _decided(evaluation: Evaluation, contract: Contract) -> str:
    chosen = evaluation["threshold"]
    if not chosen:
        return "The class with the largest probability is predicted"
    first, second = contract.target.classes
    other = first if chosen["label"] == second else second
    return (
        f"{_key(contract, chosen['label'])} is predicted where its probability is at least "
        f"{chosen['value']:g}, and {_key(contract, other)} otherwise; the rule: "
        f"{code(chosen['rule'])}"
    )


def _key(contract: Contract, label: object) -> str:
    return code(contract.target.keys[contract.target.classes.index(label)])


def _scores(evaluation: Evaluation) -> str:
    test, validation = evaluation["test"], evaluation["cross_validation"]
    names = [name for name in SCORES if name in test]
    header = ["score", "test rows", "95 % interval"]
    rows = [[SCORES[name], number(test[name]["value"]), between(test[name])] for name in names]
    if not validation:
        return table(header, rows)
    header += ["cross-validation", "95 % interval"]
    found = [validation["scores"].get(name) for name in names]
    beside = [[number(own["value"]), between(own)] if own else [NONE, NONE] for own in found]
    rows = [[*row, *more] for row, more in zip(rows, beside, strict=True)]
    nested = ", the search in each of them" if validation["nested"] else ""
    return table(header, rows) + (
        f"\n\nCross-validation: {validation['folds']} folds of the training rows, "
        f"{_count(validation['repeats'], 'time')}{nested}. Of several classes, ROC AUC and average "
        "precision are means, each class against the rest."
    )


def _classes(evaluation: Evaluation) -> str:
    said = ["Each against the rest, with 95 % intervals, on the test rows:"]
    said.append(_by_class(evaluation["classes"], {"rows": "test rows"}))
    if evaluation["cross_validation"]:
        said += ["By cross-validation:", _by_class(evaluation["cross_validation"]["classes"], {})]
    more = len(evaluation["classes"]) - MOST_CLASSES
    return "\n\n".join([*said, *([f"And {more} more, in `evaluation.json`."] if more > 0 else [])])


def _by_class(classes: Sequence[Mapping[str, Any]], counts: Mapping[str, str]) -> str:
    """A row a class: its counts, such as of its rows, and its scores."""
    rows = [
        [code(each["class"]), *(f"{each[name]:,}" for name in counts),
         *(scored(each[name]) for name in CLASS_SCORES)]
        for each in classes[:MOST_CLASSES]
    ]  # fmt: skip
    return table(["class", *counts.values(), *CLASS_SCORES.values()], rows)


def _slices(evaluation: Evaluation) -> str:
    """The scores where a column has a value; nothing where no column was asked for."""
    slices = evaluation["slices"]
    if not slices:
        return ""
    names = [name for name in SCORES if name in slices[0]]
    rows = [
        [code(each["column"]), _value(each["value"]), f"{each['rows']:,}",
         *(scored(each[name]) for name in names)]
        for each in slices[:MOST_SLICES]
    ]  # fmt: skip
    header = ["column", "value", "test rows", *(SCORES[name].partition(",")[0] for name in names)]
    more = len(slices) - len(rows)
    return table(header, rows) + (f"\n\nAnd {more} more." if more > 0 else "")


def _value(value: object) -> str:
    """A value of a column, which may be missing, as the table has it."""
    if value is None:
        return "missing"
    return code(str(value).lower() if isinstance(value, bool) else value)


def _pictures() -> str:
    return "\n\n".join(f"![{SEEN[name]}](plots/{name}.png)" for name in PICTURES)


def _limits(contract: Contract, evaluation: Evaluation) -> str:
    return "\n".join(f"- {each}" for each in _limit(contract, evaluation))


def _limit(contract: Contract, evaluation: Evaluation) -> Iterator[str]:
    """What the facts say against too much trust, one sentence each."""
    rows, score = evaluation["rows"], evaluation["test"]["accuracy"]
    for leak in evaluation["leaks"]:
        yield (
            f"**{code(leak['feature'])} alone tells {code(contract.target.name)} almost perfectly "
            f"(AUC {leak['auc']:.3f}).** It looks like the target in another form. If it is not "
            "known at the time of prediction, every score here is too good: add it to "
            "`processed.drop` and train again."
        )
    yield (
        "It is for rows like those that it was trained on. Where they come from elsewhere, or "
        "things have changed since, these scores say little; the service counts how far the rows "
        "that it gets have drifted from the training rows."
    )
    yield (
        "It finds what goes together in the data, and not what causes what. It must not decide by "
        "itself what a person could not undo."
    )
    for note in evaluation["notes"]:
        yield f"{prose(note[:1].upper() + note[1:])}."
    if rows["test"] < FEW_ROWS and score["low"] is not None:
        yield (
            f"The test has just {_count(rows['test'], 'row')}: an accuracy from "
            f"{share(score['low'])} to {share(score['high'])} would go with it as well."
        )
    if rows["test"] < FEW_TO_CALIBRATE:
        yield (
            "A calibration error of so few rows comes out too large, for chance alone moves each "
            "bin; the lower end of its interval on the test rows allows for that."
        )
    told = [each for each in evaluation["classes"] if each["rows"]]
    rare = [each for each in told if each["rows"] < FEW_OF_A_CLASS]
    if rare:
        least = min(rare, key=lambda each: each["rows"])
        yield (
            f"Of {len(rare)} of the {len(evaluation['classes'])} classes there are fewer than "
            f"{FEW_OF_A_CLASS} test rows, of {code(least['class'])} just {least['rows']}: what is "
            "said of such a class alone is rough."
        )
    counts = contract.target.counts
    if counts and max(counts) >= UNEVEN * max(1, min(counts)):
        yield (
            f"The classes are uneven: accuracy alone flatters, for who always says the largest "
            f"is right in {share(max(counts) / sum(counts))} of the training rows. See balanced "
            "accuracy and each class."
        )
    worst = min(told, key=lambda each: each["recall"]["value"])
    yield (
        f"Of the class {code(worst['class'])} it finds the least: "
        f"{share(worst['recall']['value'])} of "
        f"{_count(worst['rows'], 'test row')}."
    )
    yield from _worst_slice(evaluation)
    yield (
        "It knows no other class than those above: a row of another gets one of them, and may get "
        "it with a high probability."
    )


def _worst_slice(evaluation: Evaluation) -> Iterator[str]:
    said = [each for each in evaluation["slices"] if each.get("accuracy") is not None]
    if said:
        worst = min(said, key=lambda each: each["accuracy"]["value"])
        yield (
            f"Of the parts above it is worst where {code(worst['column'])} is "
            f"{_value(worst['value'])}: {share(worst['accuracy']['value'])} of "
            f"{_count(worst['rows'], 'test row')} right."
        )
    else:
        yield (
            "Whether it is as good for each group of people or things has not been looked at: "
            "`train.slices` names no column."
        )


def _versions(versions: Mapping[str, str]) -> str:
    return table(("library", "version"), [(code(k), code(v)) for k, v in versions.items()])


def _origin() -> str:
    return (
        "`GET /model` of the service tells the whole chain of the model that answers: git commit, "
        "the hashes of data and stages in `dvc.lock`, parameters, scores and library versions. "
        "`git checkout` of that commit and `dvc pull` bring all of it, and `dvc repro` makes it "
        "again, bit by bit."
    )
