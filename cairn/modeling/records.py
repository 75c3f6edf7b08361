"""Hold what is known of a training: frozen records, which `train` writes for `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cairn.errors import CairnError
from cairn.params.base import Label
from cairn.params.train import Train


@dataclass(frozen=True)
class RowCounts:
    """How many rows the model learned from, and how many it was tested on."""

    train: int
    test: int


@dataclass(frozen=True)
class Copies:
    """How many rows are copies of another, and how many of those have another label."""

    copies: int
    contradicting: int


@dataclass(frozen=True)
class Leak:
    """A feature that predicts every class by itself.

    Attributes
    ----------
    feature
        Its name.
    auc
        Area under the ROC curve of the class that it predicts worst, against the rest.
    """

    feature: str
    auc: float


@dataclass(frozen=True)
class Trial:
    """A candidate of a search: mean and standard deviation over the folds of so many rows."""

    candidate: str
    rows: int
    value: float
    deviation: float


@dataclass(frozen=True)
class Search:
    """A search: its method, the metric that decided, the winner, and every trial."""

    method: str
    metric: str
    best: str
    estimator: str
    changes: Mapping[str, Any]
    tried: tuple[Trial, ...]


@dataclass(frozen=True)
class Reached:
    """Recall, precision and F1 of a class at the threshold, on rows that were not learned."""

    recall: float
    precision: float
    f1: float


@dataclass(frozen=True)
class Threshold:
    """From which probability a class is predicted, and by which rule.

    Attributes
    ----------
    reached
        None where the value was given, so that nothing was measured.
    """

    label: Label
    value: float
    rule: str
    reached: Reached | None


@dataclass(frozen=True)
class Training:
    """What `evaluate` has to know of a training beside the model itself.

    By how little ONNX differs from scikit-learn is not in it: the last bits depend on the
    processor, and dvc.lock must not. Beyond the tolerance there is no model.

    Attributes
    ----------
    rows
        How many there were.
    duplicates
        The copies among the rows of train and of test; no row of one is a copy of the other's.
    leaks
        Features that predict the target by themselves, the best first.
    notes
        Sentences on what the rows were too few for.
    params
        The block `train` that was fitted: the winner of the search, where there was one.
    threshold, search
        None: there was none.
    """

    rows: RowCounts
    duplicates: Copies
    leaks: tuple[Leak, ...]
    notes: tuple[str, ...]
    params: Train
    threshold: Threshold | None = None
    search: Search | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the content of training.json."""
        return asdict(self) | {"params": self.params.model_dump(by_alias=True)}


def read_training(path: Path) -> Training:
    """Read training.json.

    Raises
    ------
    CairnError
        Where there is none, or other code wrote it.
    """
    try:
        return TypeAdapter(Training).validate_python(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise CairnError(f"{path} is missing; run `dvc repro` to train the model") from None
    except (ValidationError, ValueError):
        raise CairnError(
            f"{path} is not in the form that this code writes; run `dvc repro --force train`"
        ) from None
