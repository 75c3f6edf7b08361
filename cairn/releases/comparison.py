"""Two models asked about the same rows, and how sure it is that one is the better.

Both see the test rows of the newer one, less those that the older one was trained on: on these it
looks better than it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn
from numpy.typing import NDArray
from scipy.stats import binomtest

from cairn import inference, parquet
from cairn.console import CairnError
from cairn.contract import Column, Contract, read_contract
from cairn.evaluation import metrics, sampling
from cairn.evaluation.metrics import ScoredRows
from cairn.inference import Predictions
from cairn.paths import MODEL_CONTRACT, ONNX

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]

MOST_ROWS = 10_000
RESAMPLES = 1000  # of two classes; of more, whose scores take longer, fewer
LEAST_RESAMPLES = 200
SEED = 0


class Incomparable(CairnError):
    """Two models cannot be asked about the same rows."""


class Rival(NamedTuple):
    """A model.

    Attributes
    ----------
    number
        Its version.
    contract
        Its contract, with the features that it takes.
    session
        Its ONNX graph, on one thread.
    size
        Of that graph, in bytes.
    """

    number: str
    contract: Contract
    session: ort.InferenceSession
    size: int


class Rows(NamedTuple):
    """Rows of data/features: feature name → n values, and n class codes."""

    features: dict[str, Floats]
    classes: Codes

    def part(self, chosen: NDArray[Any]) -> Rows:
        """Some of them."""
        kept = {name: values[chosen] for name, values in self.features.items()}
        return Rows(kept, self.classes[chosen])


class Difference(NamedTuple):
    """A metric of two models on the same rows.

    Attributes
    ----------
    candidate, production
        Its values.
    low, high
        Ends of the interval of the first less the second, each with the confidence asked for.
    """

    candidate: float
    production: float
    low: float
    high: float


def load(folder: Path, number: str) -> Rival:
    """The model whose files are in data/model below a folder."""
    graph = (folder / ONNX).read_bytes()
    try:
        contract = read_contract(folder / MODEL_CONTRACT)
    except CairnError:
        raise Incomparable(f"another release of Cairn wrote the contract of {number}") from None
    return Rival(number, contract, inference.session(graph), len(graph))


def read(path: Path, contract: Contract, most: int = MOST_ROWS) -> Rows:
    """The rows of a file of data/features, or so many of them at random, always the same."""
    total = pq.ParquetFile(path).metadata.num_rows
    chosen = sampling.sample_rows(total, most, np.random.default_rng(SEED))
    parts, start = [], 0
    for group in parquet.groups(path):
        inside = chosen[(chosen >= start) & (chosen < start + len(group))] - start
        parts.append(group.take(pa.array(inside)))
        start += len(group)
    table = pa.concat_tables(parts)
    names = [name for name in table.column_names if name != contract.target.name]
    classes = table[contract.target.name].to_numpy().astype(np.int64)
    return Rows({name: table[name].to_numpy() for name in names}, classes)


def inputs(rows: Rows, own: Contract, other: Contract) -> Floats:
    """What another model takes of rows of one's own: n × its features.

    Parameters
    ----------
    own, other
        The contract that the rows keep, and that of the model which is asked.

    Raises
    ------
    Incomparable
        Where the rows do not say what it takes, or it predicts something else.
    """
    _same_target(own, other)
    lacking = [each.name for each in other.features if each.name not in rows.features]
    if lacking:
        raise Incomparable(f"it takes {', '.join(lacking)}, which the rows do not have")
    made = any(feature.column is None for feature in other.features)
    if made and own.engineering != other.engineering:
        raise Incomparable("it takes features that another stages/engineering.py made")
    columns = [
        rows.features[feature.name]
        if feature.column is None
        else _recoded(rows.features[feature.name], own, other.column(feature.column))
        for feature in other.features
    ]
    return np.column_stack(columns).astype(np.float32, copy=False)


def _same_target(own: Contract, other: Contract) -> None:
    """Raise an Incomparable unless both predict the same, with the same classes."""
    sides = [(each.target.name, list(map(repr, each.target.classes))) for each in (other, own)]
    if sides[0] != sides[1]:
        texts = [f"{name} ({', '.join(classes)})" for name, classes in sides]
        raise Incomparable(f"it predicts {texts[0]}, not {texts[1]}")


def _recoded(values: Floats, own: Contract, theirs: Column) -> Floats:
    """A column's feature as another contract has it, whose categories may have other places."""
    mine = own.column(theirs.name) if theirs.name in own.names else None
    if mine is None or (mine.kind, mine.unit) != (theirs.kind, theirs.unit):
        raise Incomparable(f"its {theirs.name} is {_described(theirs)}, not {_described(mine)}")
    if mine.kind != "category" or mine.categories == theirs.categories:
        return values
    places = np.array([theirs.code(category) for category in mine.categories], dtype=np.float32)
    there = ~np.isnan(values)
    codes = values[there].astype(np.int64)
    if (codes == len(places)).any():
        raise Incomparable(f"rows have a {theirs.name} that is not listed, and maybe is there")
    if not theirs.unknown and (unknown := places[codes] == len(theirs.categories)).any():
        first = mine.categories[codes[unknown][0]]
        raise Incomparable(f"it knows no {theirs.name} {first!r}, which rows have")
    found = values.copy()
    found[there] = places[codes]
    return found


def _described(column: Column | None) -> str:
    if column is None:
        return "a column here"
    return f"a {column.kind}" + (f" in {column.unit}" if column.unit else "")


def unseen(rows: Floats, train: Path, contract: Contract) -> NDArray[np.bool_]:
    """Which of n rows are in no row of a model's own training rows, by every feature it takes."""
    known = _keys(rows)
    found = np.zeros(len(rows), dtype=bool)
    names = [feature.name for feature in contract.features]
    for group in parquet.groups(train, names):
        columns = [group[name].to_numpy() for name in names]
        found |= np.isin(known, _keys(np.column_stack(columns)))
    return ~found


def _keys(rows: Floats) -> NDArray[Any]:
    """Each row as one value that can be compared; 0 is 0, and missing is missing."""
    plain = np.where(np.isnan(rows), np.float32(np.nan), rows + np.float32(0))
    plain = np.ascontiguousarray(plain, dtype=np.float32)
    return plain.view(np.dtype((np.void, plain.shape[1] * plain.itemsize))).ravel()


def asked(rival: Rival, features: Floats) -> Predictions:
    """What a model says of n rows, its threshold applied."""
    said = inference.predict(rival.session, features)
    return inference.decided(said, rival.contract.target.decision)


def difference(
    metric: str, candidate: ScoredRows, production: ScoredRows, classes: int, confidence: float
) -> Difference:
    """How much one model differs from the other on the same rows, and within which bounds.

    Parameters
    ----------
    metric
        One of `metrics.SCORES`.
    candidate, production
        Both of the same n rows.
    confidence
        Of each end of the interval by itself. The accuracy's is that of the exact McNemar test;
        the others' come from resampling rows, both models on the same ones, class by class.
    """
    score = metrics.SCORES[metric]
    mine, theirs = (float(score(side, classes)) for side in (candidate, production))
    if metric == "accuracy":
        low, high = mcnemar(candidate, production, confidence)
    else:
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            resamples = max(LEAST_RESAMPLES, 2 * RESAMPLES // classes)
            drawn = bootstrap(metric, candidate, production, classes, resamples)
        low, high = np.quantile(drawn, [1 - confidence, confidence]).tolist()
    return Difference(mine, theirs, low, high)


def mcnemar(
    candidate: ScoredRows, production: ScoredRows, confidence: float
) -> tuple[float, float]:
    """The bounds of the difference in accuracy, from the rows that just one model has right.

    An end is beyond 0 where the exact test of McNemar, one-sided, is certain of it.
    """
    sides = [side.predictions.labels == side.truth for side in (candidate, production)]
    gained = int(np.count_nonzero(sides[0] & ~sides[1]))
    discordant = int(np.count_nonzero(sides[0] != sides[1]))
    if not discordant:
        return 0.0, 0.0
    ends = binomtest(gained, discordant).proportion_ci(2 * confidence - 1, method="exact")
    share = discordant / len(candidate.truth)
    return (2 * ends.low - 1) * share, (2 * ends.high - 1) * share


def bootstrap(
    metric: str, candidate: ScoredRows, production: ScoredRows, classes: int, resamples: int
) -> NDArray[np.float64]:
    """The difference on each of many resamples of the rows, every class with as many as there."""
    random = np.random.default_rng(SEED)
    places = sampling.group_by_class(candidate.truth)
    sides = [side._replace(features=side.features[:, :0]) for side in (candidate, production)]
    score = metrics.SCORES[metric]
    found = []
    for _ in range(resamples):
        rows = sampling.resample(places, random)
        first, second = (float(score(side.at(rows), classes)) for side in sides)
        found.append(first - second)
    return np.array(found)
