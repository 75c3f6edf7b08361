"""Measure the points that the plots of a model are drawn from, and that `dvc plots` draws too."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
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
from cairn.evaluation.metric_table import BINARY
from cairn.evaluation.metrics import DIGITS, ScoredRows, has_both, log_loss
from cairn.evaluation.sampling import sample_rows
from cairn.modeling import fitting
from cairn.modeling.folds import Folds, count_distinct
from cairn.modeling.records import Trial

CALIBRATION_BINS = 10
IMPORTANCE_ROWS = 2000
IMPORTANCE_REPEATS = 5
IMPORTANCE_SHUFFLES = 500  # of all columns together, where a table is wide
LEARNING_FOLDS = 5
LEARNING_FRACTIONS = (0.1, 0.325, 0.55, 0.775, 1.0)  # of a fold's training rows
LEARNING_LEAST = 2  # rows of a class, without which a size is left out
DEPENDENCE_COLUMNS = 6
DEPENDENCE_ROWS = 500
DEPENDENCE_POINTS = 20
BATCH = 2**22  # numbers in the rows that the model is asked about at once
DEPENDENCE_ENDS = (5, 95)  # percentiles: beyond them there is little to go by
# So many a browser still draws at once: points of a plot's curves, of each curve at least, and rows
# of the confusion, each of which is a record.
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


def measure_points(
    pipeline: Pipeline,
    test: ScoredRows,
    contract: Contract,
    seed: int,
    trials: Sequence[Trial],
) -> dict[str, pd.DataFrame]:
    """Measure the points of each plot but the learning curve, by the plot's name.

    Parameters
    ----------
    test
        The test rows and their predictions.
    contract
        With the features that the model takes.
    seed
        Draws rows where there are too many.
    trials
        Those of a search; none without one.
    """
    names = np.asarray(contract.target.keys)
    features = contract.inputs
    columns = tuple(_column_of(feature, contract) for feature in features)
    ranking = importance(pipeline, test, columns, seed)
    order = {column: rank for rank, column in enumerate(ranking["column"])}
    ranked = sorted(range(len(columns)), key=lambda index: order[columns[index]])
    most = [features[index].name for index in ranked[:DEPENDENCE_COLUMNS]]
    return {
        "confusion": confusion(test, names, seed),
        "roc": _by_class(_roc, test, names),
        "precision_recall": _by_class(_precision_recall, test, names),
        "calibration": _by_class(_calibration, test, names),
        "importance": ranking,
        "dependence": dependence(pipeline, test.features, contract, most, seed),
        "search": pd.DataFrame([asdict(trial) for trial in trials], columns=list(SEARCH)).round(
            DIGITS
        ),
    }


def confusion(test: ScoredRows, names: NDArray[Any], seed: int) -> pd.DataFrame:
    """Pair the true and the predicted class of all rows, or of CONFUSION_ROWS at random."""
    rows = sample_rows(len(test.truth), CONFUSION_ROWS, np.random.default_rng(seed))
    return pd.DataFrame(
        {"actual": names[test.truth[rows]], "predicted": names[test.predictions.labels[rows]]}
    )


def _by_class(curve: Curve, test: ScoredRows, names: NDArray[Any]) -> pd.DataFrame:
    """Measure one curve a class against the rest; of two classes the second is enough.

    A class that none or all of the rows have, has no curve.
    """
    codes = [1] if len(names) == BINARY else range(len(names))
    most = max(POINTS // len(codes), POINTS_OF_A_CLASS)
    hits = {code: test.truth == code for code in codes}
    probabilities = test.predictions.probabilities
    parts = [
        thin(curve(hit, probabilities[:, code]), most).assign(class_=names[code])
        for code, hit in hits.items()
        if has_both(hit)
    ]
    if not parts:  # a frame of the same columns, without points
        two = np.array([False, True])
        return curve(two, two.astype(np.float64))[:0].assign(**{"class": ""})
    return pd.concat(parts, ignore_index=True).round(DIGITS).rename(columns={"class_": "class"})


def thin(curve: pd.DataFrame, most: int) -> pd.DataFrame:
    """Keep at most so many points of a curve, evenly along it, its ends among them.

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
    clipped = score.clip(0, 1)
    observed, predicted = calibration_curve(hit, clipped, n_bins=CALIBRATION_BINS)
    inner = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]  # as calibration_curve has them
    counts = np.bincount(np.searchsorted(inner, clipped), minlength=CALIBRATION_BINS)
    return pd.DataFrame({"predicted": predicted, "observed": observed, "rows": counts[counts > 0]})


def _column_of(feature: Feature, contract: Contract) -> str:
    """Name the column that a feature is of; one of `stages.engineering` has its own name."""
    if feature.column is not None:
        return feature.column
    return f"{feature.name} (engineered)" if feature.name in contract.names else feature.name


def importance(
    pipeline: Pipeline, test: ScoredRows, names: tuple[str, ...], seed: int
) -> pd.DataFrame:
    """Measure by how much the log loss grows where a column is shuffled, the largest first.

    scikit-learn's own `permutation_importance` asks about each shuffle by itself, which takes a
    forest ten times as long as to be asked about all shuffles of a column at once.

    Parameters
    ----------
    names
        For each feature the column that it is of: those of one column are shuffled together.
    """
    columns: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        columns.setdefault(name, []).append(index)
    rows = np.random.default_rng(seed).permutation(len(test.truth))[:IMPORTANCE_ROWS]
    features, truth = test.features[rows], test.truth[rows]
    repeats = max(1, min(IMPORTANCE_REPEATS, IMPORTANCE_SHUFFLES // len(columns)))
    orders = _shuffles(len(rows), repeats, seed)
    baseline = log_loss(truth, _probabilities(pipeline, features))
    shuffled = np.tile(features, (repeats, 1))
    growth = np.empty((len(columns), repeats))
    for row, indices in enumerate(columns.values()):
        shuffled[:, indices] = features[:, indices][orders.ravel()]
        predicted = np.split(_probabilities(pipeline, shuffled), repeats)
        growth[row] = [log_loss(truth, probabilities) - baseline for probabilities in predicted]
        shuffled[:, indices] = np.tile(features[:, indices], (repeats, 1))
    frame = pd.DataFrame({"column": list(columns), "importance": growth.mean(axis=1).round(DIGITS)})
    return frame.sort_values(["importance", "column"], ascending=[False, True], ignore_index=True)


def _shuffles(rows: int, repeats: int, seed: int) -> Labels:
    """Draw orders of the rows, repeats × rows, as scikit-learn's own function draws them."""
    random = np.random.RandomState(seed)
    random = np.random.RandomState(random.randint(np.iinfo(np.int32).max + 1))
    step, order = np.arange(rows), np.arange(rows)
    orders = np.empty((repeats, rows), dtype=np.int64)
    for repeat in range(repeats):
        random.shuffle(step)
        order = orders[repeat] = order[step]
    return orders


def _probabilities(model: Pipeline, features: Floats) -> NDArray[np.float64]:
    """Predict the probabilities of rows, in float64, which add up to 1."""
    # A forest's threads add its trees up in any order, and the last bits would depend on it.
    with joblib.parallel_config("sequential"):
        predicted = model.predict_proba(features).astype(np.float64)
    probabilities: NDArray[np.float64] = predicted / predicted.sum(axis=1, keepdims=True)
    return probabilities  # naive Bayes's, in float32, add up to nearly 1


def measure_learning(
    unfitted: Pipeline, train: tuple[Floats, Labels], seed: int, run: Run = here
) -> pd.DataFrame:
    """Measure the log loss by the number of rows learned from, on those and on held-out rows.

    It is measured by folds. A size that is too small for the classes, or for what the estimator
    does with its rows, is left out.

    Parameters
    ----------
    train
        n × k features and n class codes.
    seed
        Deals the rows out.
    run
        Runs the fits of few rows; those of many run on joblib's threads, as the caller has set
        them, which need no copies of them.
    """
    features, classes = train
    if count_distinct(features, classes).min() < LEARNING_FOLDS:
        return empty_learning()
    splits = [
        (mix(rows, classes, seed), held_out)
        for rows, held_out in Folds(LEARNING_FOLDS, seed=seed).split(features, classes)
    ]
    sizes = _sizes(splits, classes)
    if not sizes:
        return empty_learning()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = partial(_losses, unfitted, features, classes)
        parts = [(rows[:size], held_out) for size in sizes for rows, held_out in splits]
        if fits(features.nbytes):
            pairs = list(run(losses, parts))
        else:
            pairs = joblib.Parallel()(joblib.delayed(losses)(part) for part in parts)
    measured = np.array(pairs).reshape(len(sizes), LEARNING_FOLDS, len(PARTS))
    frames = [_summarize(sizes, name, measured[:, :, at]) for at, name in enumerate(PARTS)]
    return pd.concat(frames, ignore_index=True).round(DIGITS).dropna(ignore_index=True)


def empty_learning() -> pd.DataFrame:
    """Return a learning curve without points."""
    return pd.DataFrame(columns=list(LEARNING))


def _losses(
    unfitted: Pipeline, features: Floats, classes: Labels, part: tuple[Labels, Labels]
) -> tuple[float, float]:
    """Fit, and measure the log loss on these rows and on held-out rows; NaN if they are too few.

    scikit-learn's own `learning_curve` would have OpenMP start as many threads as there are cores
    in each of as many threads.
    """
    rows, _ = part
    with fitting.limit_threads(), joblib.parallel_config("sequential"):
        try:
            model = fitting.fit_rows(clone(unfitted), features[rows], classes[rows])
        except fitting.USER_ERRORS:  # that all of the rows suffice was seen when all were fitted
            return np.nan, np.nan
        on_own, on_held_out = (
            log_loss(classes[each], _probabilities(model, features[each])) for each in part
        )
    return on_own, on_held_out


def _summarize(rows: list[int], name: str, losses: NDArray[np.float64]) -> pd.DataFrame:
    """Average over the folds, with the standard deviation, a row each size."""
    frame = {
        "rows": rows,
        "part": name,
        "log_loss": losses.mean(axis=1),
        "deviation": losses.std(axis=1),
    }
    return pd.DataFrame(frame)


def mix(rows: Labels, classes: Labels, seed: int) -> Labels:
    """Shuffle rows so that every beginning has all classes in proportion, as far as can be.

    Parameters
    ----------
    rows
        Indices in `classes`.

    >>> classes = np.array([0, 0, 0, 0, 1, 1])
    >>> classes[mix(np.arange(6), classes, 0)].tolist()
    [0, 1, 0, 0, 1, 0]
    """
    shuffled = np.random.default_rng(seed).permutation(rows)
    rank = np.empty(len(rows))
    for code in np.unique(classes[rows]):
        own = np.flatnonzero(classes[shuffled] == code)
        rank[own] = np.arange(len(own)) / len(own)
    order: Labels = shuffled[np.lexsort((classes[shuffled], rank))]
    return order


def _sizes(splits: list[tuple[Labels, Labels]], classes: Labels) -> list[int]:
    """Choose how many rows to learn from: such as have some of each class, in every fold."""
    width = int(classes.max()) + 1
    most = min(len(rows) for rows, _ in splits)
    return [
        size
        for size in sorted({round(fraction * most) for fraction in LEARNING_FRACTIONS})
        if all(
            np.bincount(classes[rows[:size]], minlength=width).min() >= LEARNING_LEAST
            for rows, _ in splits
        )
    ]


def dependence(
    pipeline: Pipeline, features: Floats, contract: Contract, names: Sequence[str], seed: int
) -> pd.DataFrame:
    """Measure the mean probability of each class, were a column the same in every row.

    Parameters
    ----------
    features
        n × k; DEPENDENCE_ROWS of them at random, at most, are asked.
    names
        Of the features to vary.

    Returns
    -------
    frame
        The value as the model has it, a number in the column's unit or a category's code, and
        as `label` what it is called where it is a category, true or false. Of two classes
        only the second.
    """
    rows = features[sample_rows(len(features), DEPENDENCE_ROWS, np.random.default_rng(seed))]
    inputs = {feature.name: (at, feature) for at, feature in enumerate(contract.inputs)}
    parts = [_dependence(pipeline, rows, contract, *inputs[name]) for name in names]
    empty = pd.DataFrame(columns=list(DEPENDENCE))
    some = [part for part in parts if len(part)]
    return pd.concat(some, ignore_index=True) if some else empty


def _dependence(
    pipeline: Pipeline, rows: Floats, contract: Contract, index: int, feature: Feature
) -> pd.DataFrame:
    """Measure the points of one feature; none where it has one value only."""
    column = contract.column(feature.column) if feature.column else None
    values, labels = grid(rows[:, index], column, feature)
    if len(values) < BINARY:
        return pd.DataFrame(columns=list(DEPENDENCE))
    means = _means(pipeline, rows, index, values)
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
    pipeline: Pipeline, rows: Floats, index: int, values: Sequence[float]
) -> NDArray[np.float64]:
    """Average the probabilities, classes × values, were a column each of the values in every row.

    As many values are asked about at once as BATCH has room for: a forest takes little longer for
    a thousand rows than for one.
    """
    step = max(1, BATCH // rows.size)
    parts = []
    for start in range(0, len(values), step):
        some = np.array(values[start : start + step], dtype=np.float32)
        varied = np.tile(rows, (len(some), 1))
        varied[:, index] = np.repeat(some, len(rows))
        with joblib.parallel_config("sequential"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predicted = pipeline.predict_proba(varied)
        parts.append(predicted.reshape(len(some), len(rows), -1).mean(axis=1))
    return np.concatenate(parts).T


def grid(
    values: Floats, column: Column | None, feature: Feature
) -> tuple[list[float], list[str | None]]:
    """Return the values to ask for, ascending, and the name of each that is no number.

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
    values_asked = sorted({float(f"{value:.{DIGITS}g}") for value in present})
    return values_asked, [None] * len(values_asked)


def _commonest(column: Column, feature: Feature) -> list[int]:
    """Return the codes of the categories that most training rows have, in order."""
    codes = range(len(column.categories))
    if feature.histogram is None:
        return list(codes[:DEPENDENCE_POINTS])
    counts = feature.histogram.counts
    ordered = sorted(codes, key=lambda code: (-counts[code], code))
    return sorted(ordered[:DEPENDENCE_POINTS])
