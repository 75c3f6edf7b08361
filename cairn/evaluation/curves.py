"""The points that the pictures of a model are drawn from, and that `dvc plots` draws as well."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.base import clone
from sklearn.calibration import calibration_curve
from sklearn.pipeline import Pipeline

from cairn.compute.processes import Run, fits, here
from cairn.contract import Column, Contract, Feature
from cairn.evaluation.intervals import drawn
from cairn.evaluation.metrics import BINARY, DIGITS, Scored, is_told_apart, log_loss
from cairn.modeling import fitting
from cairn.modeling.folds import Folds, count_distinct
from cairn.params import Train

CALIBRATION_BINS = 10
IMPORTANCE_ROWS = 2000
IMPORTANCE_REPEATS = 5
IMPORTANCE_SHUFFLES = 500  # of all columns together, where a table is wide
LEARNING_FOLDS = 5
LEARNING_SHARES = (0.1, 0.325, 0.55, 0.775, 1.0)  # of a fold's training rows
LEARNING_LEAST = 2  # rows of a class, without which a size is left out
DEPENDENCE_COLUMNS = 6
DEPENDENCE_ROWS = 500
DEPENDENCE_POINTS = 20
BATCH = 2**22  # numbers in the rows that the model is asked about at once
DEPENDENCE_ENDS = (5, 95)  # percentiles: beyond them there is little to go by
# What a browser still draws at once: points of a plot's curves, of each at least so many, and
# rows of the confusion, each of which is a record.
POINTS = 1000
POINTS_OF_A_CLASS = 100
CONFUSION_ROWS = 10_000
PARTS = ("training", "validation")
LEARNING = ("rows", "part", "log_loss", "deviation")
DEPENDENCE = ("column", "value", "label", "class", "probability")
SEARCH = ("candidate", "rows", "value", "deviation")
Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Curve = Callable[[NDArray[np.bool_], NDArray[Any]], pd.DataFrame]
Tried = Sequence[Mapping[str, Any]]


def points(
    pipeline: Pipeline, test: Scored, contract: Contract, seed: int, tried: Tried
) -> dict[str, pd.DataFrame]:
    """The points of each picture but that of learning, by its name.

    Parameters
    ----------
    test
        The test rows, and what was said of them.
    contract
        With the features that the model takes.
    seed
        Draws rows where there are too many.
    tried
        The candidates of a search, each with candidate, rows, value and deviation; none without.
    """
    names = np.asarray(contract.target.keys)
    features = contract.inputs
    of = tuple(_column_of(feature, contract) for feature in features)
    found = importance(pipeline, test, of, seed)
    order = {column: place for place, column in enumerate(found["column"])}
    ranked = sorted(range(len(of)), key=lambda place: order[of[place]])
    most = [features[place].name for place in ranked[:DEPENDENCE_COLUMNS]]
    return {
        "confusion": confusion(test, names, seed),
        "roc": _by_class(_roc, test, names),
        "precision_recall": _by_class(_precision_recall, test, names),
        "calibration": _by_class(_calibration, test, names),
        "importance": found,
        "dependence": dependence(pipeline, test.features, contract, most, seed),
        "search": pd.DataFrame(list(tried), columns=list(SEARCH)).round(DIGITS),
    }


def confusion(test: Scored, names: NDArray[Any], seed: int) -> pd.DataFrame:
    """What is true and what was said, a row each: of all rows, or of CONFUSION_ROWS at random."""
    rows = drawn(len(test.truth), CONFUSION_ROWS, np.random.default_rng(seed))
    return pd.DataFrame(
        {"actual": names[test.truth[rows]], "predicted": names[test.said.labels[rows]]}
    )


def _by_class(curve: Curve, test: Scored, names: NDArray[Any]) -> pd.DataFrame:
    """One curve a class against the rest; of two classes the second alone says it all.

    A class that none or all of the rows have, has no curve.
    """
    places = [1] if len(names) == BINARY else range(len(names))
    most = max(POINTS // len(places), POINTS_OF_A_CLASS)
    hits = [(place, test.truth == place) for place in places]
    told = [(place, hit) for place, hit in hits if is_told_apart(hit)]
    if not told:  # a frame of the same columns, without points
        two = np.array([False, True])
        return curve(two, two.astype(np.float64))[:0].assign(**{"class": ""})
    parts = [
        thin(curve(hit, test.said.probabilities[:, place]), most).assign(class_=names[place])
        for place, hit in told
    ]
    return pd.concat(parts, ignore_index=True).round(DIGITS).rename(columns={"class_": "class"})


def thin(curve: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many points of a curve, evenly along it, its ends among them.

    >>> thin(pd.DataFrame({"x": [0, 0.1, 0.2, 1, 1], "y": [0, 0, 0, 0, 1]}), 3)["x"].tolist()
    [0.0, 1.0, 1.0]
    """
    if len(curve) <= most:
        return curve
    steps = curve.diff().abs().sum(axis="columns").cumsum().to_numpy()
    rows = np.searchsorted(steps, np.linspace(0, steps[-1], most))
    ends = [0, len(curve) - 1]
    return curve.take(np.unique([*ends, *rows[1:-1]]))


def _roc(hit: NDArray[np.bool_], score: NDArray[Any]) -> pd.DataFrame:
    false, true, _ = metrics.roc_curve(hit, score)
    return pd.DataFrame({"false_positive_rate": false, "true_positive_rate": true})


def _precision_recall(hit: NDArray[np.bool_], score: NDArray[Any]) -> pd.DataFrame:
    precision, recall, _ = metrics.precision_recall_curve(hit, score)
    return pd.DataFrame({"recall": recall, "precision": precision})


def _calibration(hit: NDArray[np.bool_], score: NDArray[Any]) -> pd.DataFrame:
    shares = score.clip(0, 1)
    observed, predicted = calibration_curve(hit, shares, n_bins=CALIBRATION_BINS)
    inner = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]  # as calibration_curve has them
    counts = np.bincount(np.searchsorted(inner, shares), minlength=CALIBRATION_BINS)
    return pd.DataFrame({"predicted": predicted, "observed": observed, "rows": counts[counts > 0]})


def _column_of(feature: Feature, contract: Contract) -> str:
    """The column that a feature is of, or its own name where `stages.engineering` made it."""
    if feature.column is not None:
        return feature.column
    return f"{feature.name} (engineered)" if feature.name in contract.names else feature.name


def importance(pipeline: Pipeline, test: Scored, names: tuple[str, ...], seed: int) -> pd.DataFrame:
    """By how much the log loss grows where a column is shuffled, the largest first.

    scikit-learn's own `permutation_importance` asks about each shuffle by itself, which takes a
    forest ten times as long as to be asked about all shuffles of a column at once.

    Parameters
    ----------
    names
        For each feature the column that it is of: those of one column are shuffled together.
    """
    columns: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        columns.setdefault(name, []).append(place)
    rows = np.random.default_rng(seed).permutation(len(test.truth))[:IMPORTANCE_ROWS]
    features, truth = test.features[rows], test.truth[rows]
    repeats = max(1, min(IMPORTANCE_REPEATS, IMPORTANCE_SHUFFLES // len(columns)))
    orders = _shuffles(len(rows), repeats, seed)
    whole = log_loss(truth, _shares(pipeline, features))
    shuffled = np.tile(features, (repeats, 1))
    growth = np.empty((len(columns), repeats))
    for row, places in enumerate(columns.values()):
        shuffled[:, places] = features[:, places][orders.ravel()]
        said = np.split(_shares(pipeline, shuffled), repeats)
        growth[row] = [log_loss(truth, shares) - whole for shares in said]
        shuffled[:, places] = np.tile(features[:, places], (repeats, 1))
    frame = pd.DataFrame({"column": list(columns), "importance": growth.mean(axis=1).round(DIGITS)})
    return frame.sort_values(["importance", "column"], ascending=[False, True], ignore_index=True)


def _shuffles(rows: int, repeats: int, seed: int) -> Labels:
    """Orders of the rows, repeats × rows, as scikit-learn's `permutation_importance` draws them."""
    random = np.random.RandomState(seed)
    random = np.random.RandomState(random.randint(np.iinfo(np.int32).max + 1))
    step, order = np.arange(rows), np.arange(rows)
    orders = np.empty((repeats, rows), dtype=np.int64)
    for repeat in range(repeats):
        random.shuffle(step)
        order = orders[repeat] = order[step]
    return orders


def _shares(model: Pipeline, features: Floats) -> NDArray[np.float64]:
    """The probabilities that a Pipeline gives to rows, in float64, which add up to 1."""
    # A forest's threads add its trees up in any order, and the last bits would depend on it.
    with joblib.parallel_config("sequential"):
        found = model.predict_proba(features).astype(np.float64)
    shares: NDArray[np.float64] = found / found.sum(axis=1, keepdims=True)
    return shares  # naive Bayes's, in float32, were near 1


def learning(
    unfitted: Pipeline, train: tuple[Floats, Labels], block: Train, run: Run = here
) -> pd.DataFrame:
    """The log loss by the rows that a model learned from, of those and of rows aside.

    It is measured by folds. A size that is too small for the classes, or for what the estimator
    does with its rows, is left out.

    Parameters
    ----------
    train
        n × k features and n class codes.
    block
        Its seed deals the rows out.
    run
        Runs the fits of few rows; those of many run on joblib's threads, as the caller has set
        them, which need no copies of them.
    """
    features, classes = train
    if count_distinct(features, classes).min() < LEARNING_FOLDS:
        return unlearned()
    splits = [
        (mixed(rows, classes, block.seed), aside)
        for rows, aside in Folds(LEARNING_FOLDS, seed=block.seed).split(features, classes)
    ]
    sizes = _sizes(splits, classes)
    if not sizes:
        return unlearned()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = partial(_losses, unfitted, features, classes)
        parts = [(rows[:size], aside) for size in sizes for rows, aside in splits]
        if fits(features.nbytes):
            found = list(run(losses, parts))
        else:
            found = joblib.Parallel()(joblib.delayed(losses)(part) for part in parts)
    measured = np.array(found).reshape(len(sizes), LEARNING_FOLDS, len(PARTS))
    frames = [_part(sizes, name, measured[:, :, place]) for place, name in enumerate(PARTS)]
    return pd.concat(frames, ignore_index=True).round(DIGITS).dropna(ignore_index=True)


def unlearned() -> pd.DataFrame:
    """A learning curve without points."""
    return pd.DataFrame(columns=list(LEARNING))


def _losses(
    unfitted: Pipeline, features: Floats, classes: Labels, part: tuple[Labels, Labels]
) -> tuple[float, float]:
    """The log loss on the rows learned from and on rows aside; NaN if there are too few.

    scikit-learn's own `learning_curve` would have OpenMP start as many threads as there are cores
    in each of as many threads.
    """
    rows, _ = part
    with fitting.limit_threads(), joblib.parallel_config("sequential"):
        try:
            model = fitting.fit_rows(clone(unfitted), features[rows], classes[rows])
        except fitting.USER_ERRORS:  # that all of the rows suffice was seen when all were fitted
            return np.nan, np.nan
        learned, aside = (log_loss(classes[each], _shares(model, features[each])) for each in part)
    return learned, aside


def _part(rows: list[int], name: str, losses: NDArray[np.float64]) -> pd.DataFrame:
    """Mean and standard deviation over the folds, a row each size."""
    frame = {
        "rows": rows,
        "part": name,
        "log_loss": losses.mean(axis=1),
        "deviation": losses.std(axis=1),
    }
    return pd.DataFrame(frame)


def mixed(rows: Labels, classes: Labels, seed: int) -> Labels:
    """The rows in an order whose every beginning has all classes in proportion, as far as can be.

    Parameters
    ----------
    rows
        Places in `classes`.

    >>> classes = np.array([0, 0, 0, 0, 1, 1])
    >>> classes[mixed(np.arange(6), classes, 0)].tolist()
    [0, 1, 0, 0, 1, 0]
    """
    shuffled = np.random.default_rng(seed).permutation(rows)
    share = np.empty(len(rows))
    for code in np.unique(classes[rows]):
        own = np.flatnonzero(classes[shuffled] == code)
        share[own] = np.arange(len(own)) / len(own)
    order: Labels = shuffled[np.lexsort((classes[shuffled], share))]
    return order


def _sizes(splits: list[tuple[Labels, Labels]], classes: Labels) -> list[int]:
    """How many rows to learn from: such as have some of each class, in every fold."""
    width = int(classes.max()) + 1
    most = min(len(rows) for rows, _ in splits)
    return [
        size
        for size in sorted({round(share * most) for share in LEARNING_SHARES})
        if all(
            np.bincount(classes[rows[:size]], minlength=width).min() >= LEARNING_LEAST
            for rows, _ in splits
        )
    ]


def dependence(
    pipeline: Pipeline, features: Floats, contract: Contract, names: Sequence[str], seed: int
) -> pd.DataFrame:
    """The mean probability of each class, were a column the same in every row.

    Parameters
    ----------
    features
        n × k; DEPENDENCE_ROWS of them at random, at most, are asked.
    names
        Of the features to vary.

    Returns
    -------
    frame
        The value as the model has it, a number in the column's unit or a category's place, and
        as `label` what it is called where it is a category, true or false. Of two classes the
        second alone.
    """
    rows = features[drawn(len(features), DEPENDENCE_ROWS, np.random.default_rng(seed))]
    places = {feature.name: place for place, feature in enumerate(contract.inputs)}
    of = {feature.name: feature for feature in contract.inputs}
    parts = [_dependence(pipeline, rows, contract, places[name], of[name]) for name in names]
    empty = pd.DataFrame(columns=list(DEPENDENCE))
    some = [part for part in parts if len(part)]
    return pd.concat(some, ignore_index=True) if some else empty


def _dependence(
    pipeline: Pipeline, rows: Floats, contract: Contract, place: int, feature: Feature
) -> pd.DataFrame:
    """The points of one feature; none where all that is seen of it is one value."""
    column = contract.column(feature.column) if feature.column else None
    values, labels = grid(rows[:, place], column, feature)
    if len(values) < BINARY:
        return pd.DataFrame(columns=list(DEPENDENCE))
    means = _means(pipeline, rows, place, values)
    keys = contract.target.keys
    frames = [
        pd.DataFrame(
            {
                "column": feature.name,
                "value": values,
                "label": labels,
                "class": key,
                "probability": mean.round(DIGITS),
            }
        )
        for key, mean in list(zip(keys, means, strict=True))[len(keys) == BINARY :]
    ]
    return pd.concat(frames, ignore_index=True)


def _means(
    pipeline: Pipeline, rows: Floats, place: int, values: Sequence[float]
) -> NDArray[np.float64]:
    """The mean probabilities, classes × values, were a column each of the values in every row.

    As many values are asked about at once as BATCH has room for: a forest takes little longer for
    a thousand rows than for one.
    """
    step = max(1, BATCH // rows.size)
    parts = []
    for start in range(0, len(values), step):
        some = np.array(values[start : start + step], dtype=np.float32)
        asked = np.tile(rows, (len(some), 1))
        asked[:, place] = np.repeat(some, len(rows))
        with joblib.parallel_config("sequential"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = pipeline.predict_proba(asked)
        parts.append(said.reshape(len(some), len(rows), -1).mean(axis=1))
    return np.concatenate(parts).T


def grid(
    values: Floats, column: Column | None, feature: Feature
) -> tuple[list[float], list[str | None]]:
    """The values to ask for, ascending, and what each is called where it is no number.

    >>> grid(np.float32([1, 4, 2, np.nan]), None, Feature(name="ratio"))
    ([1.0, 2.0, 4.0], [None, None, None])
    """
    if column and column.kind == "boolean":
        return [0.0, 1.0], ["false", "true"]
    if column and column.kind == "category":
        codes = _commonest(column, feature)
        return [float(code) for code in codes], [str(column.categories[code]) for code in codes]
    present = np.unique(values[~np.isnan(values)]).astype(np.float64)
    if len(present) > DEPENDENCE_POINTS:
        low, high = np.nanpercentile(values.astype(np.float64), DEPENDENCE_ENDS)
        present = np.linspace(low, high, DEPENDENCE_POINTS)
    # Digits that count, for a unit may be so large that DIGITS decimals are all zero.
    found = sorted({float(f"{value:.{DIGITS}g}") for value in present})
    return found, [None] * len(found)


def _commonest(column: Column, feature: Feature) -> list[int]:
    """The places of the categories that most training rows have, in order."""
    codes = range(len(column.categories))
    if feature.histogram is None:
        return list(codes[:DEPENDENCE_POINTS])
    counts = feature.histogram.counts
    ordered = sorted(codes, key=lambda code: (-counts[code], code))
    return sorted(ordered[:DEPENDENCE_POINTS])
