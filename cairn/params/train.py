"""`train`: what is fitted, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from cairn.errors import Allowed
from cairn.params.base import Label, Section, Seed, StrictModel
from cairn.params.errors import refuse
from cairn.params.metrics import Metric

MAX_EXACT = 2**53  # beyond it a float no longer holds every integer
FOREST = "sklearn.ensemble.RandomForestClassifier"
NAME = r"^[a-z][a-z0-9_-]{0,62}$"
ESTIMATOR = r"^(sklearn|lightgbm)(\.\w+)+$"

Cost = Annotated[float, Field(gt=0, le=1e12)]  # many of them are added up
Estimator = Annotated[
    str,
    Field(pattern=ESTIMATOR),
    Allowed("the dotted name of a classifier of scikit-learn or LightGBM: sklearn.…, lightgbm.…"),
]


class Range(StrictModel):
    """Values between two, both ends included, from which a search draws.

    Attributes
    ----------
    log
        Whether they are drawn evenly by order of magnitude.
    whole
        Whether they are integers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low under high; {self.low:g} is not under {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a low over 0 where log is true; it is {self.low:g}")
        wrong = [end for end in (self.low, self.high) if end % 1 or abs(end) > MAX_EXACT]
        if self.whole and wrong:
            raise ValueError(f"integers up to 2**53 where whole is true; one is {wrong[0]:g}")
        return self


def tag_values(value: Any) -> str:
    """Return which of the two forms of a search's values this is."""
    return "range" if isinstance(value, Range | Mapping) else "list"


Values = Annotated[
    Annotated[list[Any], Field(min_length=1), Tag("list")] | Annotated[Range, Tag("range")],
    Discriminator(tag_values),
    Allowed("a list of one or more values, or of numbers a range: {low: 1, high: 2}"),
]


class Space(StrictModel):
    """What a search tries of one estimator."""

    estimator: Estimator | None = None
    arguments: dict[str, Any] = {}
    values: dict[str, Values] = {}


SPACES = [
    Space(
        estimator=FOREST,
        arguments={"n_estimators": 100},
        values={"max_depth": [4, 8, None], "max_features": ["sqrt", 0.3]},
    ),
    Space(
        estimator="sklearn.linear_model.LogisticRegression",
        arguments={"max_iter": 1000},
        values={"C": Range(low=0.01, high=10.0, log=True), "scale": [True, "power"]},
    ),
]


class Search(StrictModel):
    """How a search finds the best of several candidates, on the training rows."""

    method: Literal["none", "grid", "random", "halving"] = "none"
    candidates: Annotated[int, Field(ge=2, le=10_000)] = 30
    metric: Metric = "log_loss"
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    over: list[Space] = SPACES

    @model_validator(mode="after")
    def _check_spaces(self) -> Self:
        if self.method != "none" and not self.over:
            raise ValueError(f"for method {self.method} an entry in over; there is none")
        drawn = next((n for s in self.over for n, v in s.values.items() if type(v) is Range), None)
        if self.method == "grid" and drawn:
            raise ValueError(
                f"for method grid only lists; {drawn} is a range: random draws from it"
            )
        return self


class MaximumF1(StrictModel):
    """The threshold with the largest F1 of the class."""

    label: Label = Field(alias="class")
    rule: Literal["f1"]


class MinimumRecall(StrictModel):
    """The highest threshold whose recall of the class is at least this."""

    label: Label = Field(alias="class")
    rule: Literal["recall"]
    at_least: Annotated[float, Field(gt=0, le=1)]


class LowestCost(StrictModel):
    """The threshold at which the errors cost least."""

    label: Label = Field(alias="class")
    rule: Literal["cost"]
    false_positive: Cost
    false_negative: Cost


class FixedValue(StrictModel):
    """A threshold that the user sets."""

    label: Label = Field(alias="class")
    rule: Literal["value"]
    value: Annotated[float, Field(gt=0, lt=1)]


Threshold = MaximumF1 | MinimumRecall | LowestCost | FixedValue


def default_arguments(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default of `arguments`, which fit the default estimator only."""
    return {"n_estimators": 100} if fields.get("estimator") == FOREST else {}


class Train(Section):
    """What is fitted, how, and under which name it is kept."""

    name: Annotated[
        str,
        Field(pattern=NAME),
        Allowed("a letter, then up to 62 lower-case letters, digits, `_`, `-`"),
    ] = "cairn"
    estimator: Estimator = FOREST
    arguments: dict[str, Any] = Field(default_factory=default_arguments)
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    calibration: Literal["none", "sigmoid", "isotonic"] = "none"
    threshold: Annotated[
        Annotated[Threshold, Field(discriminator="rule")] | None,
        Allowed("null, or a mapping with a class and a rule: f1, recall, cost or value"),
    ] = None
    scale: Annotated[bool | Literal["auto", "power"], Allowed("true, false, 'auto' or 'power'")] = (
        "auto"
    )
    encode: Literal["auto", "one_hot", "ordinal"] = "auto"
    rare: Annotated[float, Field(ge=0, lt=1)] = 0.0
    example: Literal["row", "medians"] = "row"
    seed: Seed = 42
    search: Search = Search()


def parse_train(content: Mapping[str, Any], source: str) -> Train:
    """Check a `train` section that a search built.

    Raises
    ------
    CairnError
        As for params.yaml; `source` is where the search read it.
    """
    try:
        return Train.model_validate(dict(content))
    except ValidationError as error:
        raise refuse(error, Train, source) from None
