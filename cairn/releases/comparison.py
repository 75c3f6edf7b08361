"""Compare two models on the same rows, with intervals of the differences.

Both predict the test rows of the newer model, except those that the older one was trained on, on
which it looks better than it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn
from numpy.typing import NDArray
from scipy.stats import binomtest

from cairn import inference, parquet
from cairn import onnx_runtime as ort
from cairn.contract import Column, Contract, read_contract
from cairn.errors import CairnError
from cairn.evaluation import metrics, sampling
from cairn.evaluation.metrics import ScoredRows
from cairn.inference import Predictions
from cairn.paths import MODEL_CONTRACT, ONNX

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]

MAX_ROWS = 10_000
RESAMPLES = 1000  # of two classes; fewer of more classes, whose scores take longer
MIN_RESAMPLES = 200
SEED = 0


class IncomparableError(CairnError):
    """Two models cannot be compared on the same rows."""


class Model(NamedTuple):
    """A model of a version.

    Attributes
    ----------
    number
        Its version.
    contract
        Its contract, with the features that it takes.
    session
        Its ONNX graph, on one thread.
    size
        Size of that graph in bytes.
    """

    number: str
    contract: Contract
    session: ort.InferenceSession
    size: int


class LabeledRows(NamedTuple):
    """Rows of data/features: feature name → n values, and n class codes."""

    features: dict[str, Floats]
    classes: Codes

    def select(self, chosen: NDArray[Any]) -> LabeledRows:
        """Select some rows."""
        selected = {name: values[chosen] for name, values in self.features.items()}
        return LabeledRows(selected, self.classes[chosen])


class ScoreDifference(NamedTuple):
    """A score of two models on the same rows.

    Attributes
    ----------
    candidate, production
        The values.
    low, high
        Ends of the interval of the first minus the second, each with the given confidence.
    """

    candidate: float
    production: float
    low: float
    high: float


def load_model(folder: Path, number: str) -> Model:
    """Load the model whose files are in data/model below a folder."""
    graph = (folder / ONNX).read_bytes()
    try:
        contract = read_contract(folder / MODEL_CONTRACT)
    except CairnError:
        raise IncomparableError(
            f"another release of Cairn wrote the contract of {number}"
        ) from None
    return Model(number, contract, inference.open_session(graph), len(graph))


def read_rows(path: Path, contract: Contract, max_rows: int = MAX_ROWS) -> LabeledRows:
    """Read the rows of a file of data/features, or a random sample of them, always the same."""
    total = pq.ParquetFile(path).metadata.num_rows
    chosen = sampling.sample_rows(total, max_rows, np.random.default_rng(SEED))
    parts, start = [], 0
    for group in parquet.groups(path):
        inside = chosen[(chosen >= start) & (chosen < start + len(group))] - start
        parts.append(group.take(pa.array(inside)))
        start += len(group)
    table = pa.concat_tables(parts)
    names = [name for name in table.column_names if name != contract.target.name]
    classes = table[contract.target.name].to_numpy().astype(np.int64)
    return LabeledRows({name: table[name].to_numpy() for name in names}, classes)


def build_inputs(rows: LabeledRows, own: Contract, other: Contract) -> Floats:
    """Build another model's input from one's own rows: n × its features.

    Parameters
    ----------
    own, other
        The contract of the rows, and that of the other model.

    Raises
    ------
    IncomparableError
        If the rows lack a feature that it takes, or it predicts something else.
    """
    _check_target(own, other)
    missing = [each.name for each in other.features if each.name not in rows.features]
    if missing:
        raise IncomparableError(f"it takes {', '.join(missing)}, which the rows do not have")
    has_own_features = any(feature.column is None for feature in other.features)
    if has_own_features and own.engineering != other.engineering:
        raise IncomparableError("it takes features of another stages/engineering.py")
    columns = [
        rows.features[feature.name]
        if feature.column is None
        else _recode(rows.features[feature.name], own, other.column(feature.column))
        for feature in other.features
    ]
    return np.column_stack(columns).astype(np.float32, copy=False)


def _check_target(own: Contract, other: Contract) -> None:
    """Raise an IncomparableError unless both predict the same target with the same classes."""
    sides = [(each.target.name, list(map(repr, each.target.classes))) for each in (other, own)]
    if sides[0] != sides[1]:
        texts = [f"{name} ({', '.join(classes)})" for name, classes in sides]
        raise IncomparableError(f"it predicts {texts[0]}, not {texts[1]}")


def _recode(values: Floats, own: Contract, theirs: Column) -> Floats:
    """Translate a column's feature to another contract, whose categories may have other codes."""
    own_column = own.column(theirs.name) if theirs.name in own.names else None
    if own_column is None or (own_column.kind, own_column.unit) != (theirs.kind, theirs.unit):
        kinds = f"{_describe(theirs)}, not {_describe(own_column)}"
        raise IncomparableError(f"its {theirs.name} is {kinds}")
    if own_column.kind != "category" or own_column.categories == theirs.categories:
        return values
    codes_by_category = np.array(
        [theirs.code(category) for category in own_column.categories], dtype=np.float32
    )
    is_known = ~np.isnan(values)
    codes = values[is_known].astype(np.int64)
    if (codes == len(codes_by_category)).any():
        raise IncomparableError(f"rows have an unlisted {theirs.name}, which may be listed there")
    if not theirs.unknown and (unknown := codes_by_category[codes] == len(theirs.categories)).any():
        first = own_column.categories[codes[unknown][0]]
        raise IncomparableError(f"it does not know the {theirs.name} {first!r}, which rows have")
    result = values.copy()
    result[is_known] = codes_by_category[codes]
    return result


def _describe(column: Column | None) -> str:
    if column is None:
        return "a column here"
    article = "an" if column.kind == "integer" else "a"
    return f"{article} {column.kind}" + (f" in {column.unit}" if column.unit else "")


def find_unseen(rows: Floats, train: Path, contract: Contract) -> NDArray[np.bool_]:
    """Find which of n rows are not among a model's training rows, by every feature it takes."""
    known = _to_keys(rows)
    result = np.zeros(len(rows), dtype=bool)
    names = [feature.name for feature in contract.features]
    for group in parquet.groups(train, names):
        columns = [group[name].to_numpy() for name in names]
        result |= np.isin(known, _to_keys(np.column_stack(columns)))
    return ~result


def _to_keys(rows: Floats) -> NDArray[Any]:
    """Turn each row into one value that can be compared; equal are 0 and -0, and missing values."""
    plain = np.where(np.isnan(rows), np.float32(np.nan), rows + np.float32(0))
    plain = np.ascontiguousarray(plain, dtype=np.float32)
    return plain.view(np.dtype((np.void, plain.shape[1] * plain.itemsize))).ravel()


def predict(model: Model, features: Floats) -> Predictions:
    """Predict n rows by a model, its threshold applied."""
    predictions = inference.predict(model.session, features)
    return inference.apply_decision(predictions, model.contract.target.decision)


def compute_difference(
    metric: str, candidate: ScoredRows, production: ScoredRows, classes: int, confidence: float
) -> ScoreDifference:
    """Compute the difference of a score between two models on the same rows, and its bounds.

    Parameters
    ----------
    metric
        A name in `metrics.SCORES`.
    candidate, production
        Predictions of both for the same n rows.
    confidence
        Confidence of each end of the interval by itself. The accuracy's ends come from the exact
        McNemar test, the others' from resampling rows of each class, the same for both models.
    """
    score = metrics.SCORES[metric]
    mine, theirs = (float(score(side, classes)) for side in (candidate, production))
    if metric == "accuracy":
        low, high = compute_mcnemar_bounds(candidate, production, confidence)
    else:
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            resamples = max(MIN_RESAMPLES, 2 * RESAMPLES // classes)
            drawn = bootstrap_differences(metric, candidate, production, classes, resamples)
        low, high = np.quantile(drawn, [1 - confidence, confidence]).tolist()
    return ScoreDifference(mine, theirs, low, high)


def compute_mcnemar_bounds(
    candidate: ScoredRows, production: ScoredRows, confidence: float
) -> tuple[float, float]:
    """Compute bounds of the difference in accuracy from the rows that only one model has right.

    An end is beyond 0 if the one-sided exact test of McNemar rejects equality.
    """
    sides = [side.predictions.labels == side.truth for side in (candidate, production)]
    gained = int(np.count_nonzero(sides[0] & ~sides[1]))
    discordant = int(np.count_nonzero(sides[0] != sides[1]))
    if not discordant:
        return 0.0, 0.0
    ends = binomtest(gained, discordant).proportion_ci(2 * confidence - 1, method="exact")
    fraction = discordant / len(candidate.truth)
    return (2 * ends.low - 1) * fraction, (2 * ends.high - 1) * fraction


def bootstrap_differences(
    metric: str, candidate: ScoredRows, production: ScoredRows, classes: int, resamples: int
) -> NDArray[np.float64]:
    """Compute the difference on many stratified resamples of the rows."""
    random = np.random.default_rng(SEED)
    rows_by_class = sampling.group_by_class(candidate.truth)
    sides = [side._replace(features=side.features[:, :0]) for side in (candidate, production)]
    score = metrics.SCORES[metric]
    result = []
    for _ in range(resamples):
        rows = sampling.resample(rows_by_class, random)
        first, second = (float(score(side.at(rows), classes)) for side in sides)
        result.append(first - second)
    return np.array(result)
