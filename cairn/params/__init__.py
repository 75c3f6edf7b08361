"""params.yaml as frozen, strict, typed models: one block per stage."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from cairn.console import CairnError
from cairn.evaluation.metric_table import DECIDING, GAINS, OVERALL_LOSSES
from cairn.yaml_text import read_yaml

PATH = Path("params.yaml")
content = read_yaml

SHOWN = 200  # characters of what came that a message repeats
WHOLE = 2**53  # beyond it a float is no longer any whole number
SHA256 = r"^[0-9a-f]{64}$"
NAME = r"^[a-z][a-z0-9_-]{0,62}$"
ESTIMATOR = r"^(sklearn|lightgbm)(\.\w+)+$"
MEMORY = r"^\d+(\.\d+)? ?[kMGT]i?B$"
DELIMITER = r"^[\t -!#-\-/:-@\[-`{-~]$"
_PATTERNS = {
    DELIMITER: "one sign of ASCII, no letter, digit, quote or point, such as ; or \\t, or null",
    SHA256: "64 hex digits in lower case, or null",
    NAME: "a letter, then up to 62 lower-case letters, digits, `_`, `-`",
    ESTIMATOR: "the dotted name of a classifier of scikit-learn or LightGBM: sklearn.…, lightgbm.…",
    MEMORY: "an amount of memory, such as 2GiB, or null",
}
# What pydantic's own words do not say to somebody who edits a file.
_WORDS = {
    "model_type": "a mapping of the keys that are explained in params.yaml",
    "union_tag_invalid": "a {discriminator} of {expected_tags}",
    "union_tag_not_found": "a mapping with a {discriminator}",
    "model_attributes_type": "a mapping of the keys that are explained in params.yaml",
}
# Keys whose value may be of several types, which pydantic refuses one by one.
_UNIONS = {
    "header": "'auto', 'first', 'none' or a list of names",
    "class": "a label of the target: text, whole number, true or false",
    "scale": "true, false, 'auto' or 'power'",
}
_VALUES = "a list of values, one at least, or of numbers a range: {low: 1, high: 2}"


def _known(encoding: str) -> str:
    """The encoding under Python's own name."""
    try:
        "a".encode(encoding)  # one of texts: base64 is none
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise ValueError("an encoding that Python knows, such as utf-8, cp1252, utf-16") from None


Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Name = Annotated[str, Field(min_length=1)]
Cost = Annotated[float, Field(gt=0, le=1e12)]  # many of them are added up
Label = bool | int | str
# Metrics to decide by, and those that are better the higher, and the lower: see the table.
if TYPE_CHECKING:
    Metric: TypeAlias = str
    Gain: TypeAlias = str
    Loss: TypeAlias = str
else:
    Metric, Gain, Loss = (Literal[names] for names in (DECIDING, GAINS, OVERALL_LOSSES))
# Keys of older code → the block in which they are today.
_MOVED = {("train", "cross_validation"): "evaluate", ("train", "slices"): "evaluate"}


class Block(BaseModel):
    """A block that takes no other keys, no other types, and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Raw(Block):
    """Where the table comes from."""

    source: Name
    query: Name | None = None
    sha256: Annotated[str, Field(pattern=SHA256)] | None


class Processed(Block):
    """What the columns are and what becomes of a bad row."""

    target: Name
    identifier: Name | None
    drop: list[Name]
    keep: list[Name] = []
    formats: dict[Name, Name] = {}
    missing: list[str] | None = None
    encoding: Annotated[str, AfterValidator(_known)]
    delimiter: Annotated[str, Field(pattern=DELIMITER)] | None
    header: Literal["auto", "first", "none"] | Annotated[list[Name], Field(min_length=1)] = "auto"
    decimal: Literal[".", ","]
    bad_rows: Literal["fail", "set_aside"]
    max_bad_rows: Annotated[float, Field(ge=0, le=1)] = 0.1
    min_class_rows: Annotated[int, Field(ge=1, le=1000)] = 5
    duplicates: Literal["keep", "set_aside", "fail"]
    max_categories: Annotated[int, Field(ge=2, le=1000)]


class Features(Block):
    """How the rows are split."""

    test_size: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class Range(Block):
    """Values between two, both ends included, from which a search draws.

    Attributes
    ----------
    log
        Drawn evenly by order of magnitude.
    whole
        Whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low under high; {self.low:g} is not under {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a low over 0 where log is true; it is {self.low:g}")
        wrong = [end for end in (self.low, self.high) if end % 1 or abs(end) > WHOLE]
        if self.whole and wrong:
            raise ValueError(f"whole numbers up to 2**53 where whole is true; one is {wrong[0]:g}")
        return self


def _kind_of_values(given: Any) -> str:
    return "range" if isinstance(given, Range | Mapping) else "list"


Values = Annotated[
    Annotated[list[Any], Field(min_length=1), Tag("list")] | Annotated[Range, Tag("range")],
    Discriminator(_kind_of_values),
]


class Space(Block):
    """What a search tries of one estimator."""

    estimator: Annotated[str, Field(pattern=ESTIMATOR)] | None = None
    arguments: dict[str, Any] = {}
    values: dict[str, Values] = {}


class Search(Block):
    """How the best of several candidates is found, on the training rows."""

    method: Literal["none", "grid", "random", "halving"]
    candidates: Annotated[int, Field(ge=2, le=10_000)]
    metric: Metric
    folds: Annotated[int, Field(ge=2, le=20)]
    over: list[Space]

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.method != "none" and not self.over:
            raise ValueError(f"for method {self.method} an entry in over; there is none")
        drawn = next((n for s in self.over for n, v in s.values.items() if type(v) is Range), None)
        if self.method == "grid" and drawn:
            raise ValueError(f"for method grid lists alone; {drawn} is a range: random draws of it")
        return self


class CrossValidation(Block):
    """How often the training rows are split to see how the scores vary."""

    folds: Annotated[int, Field(ge=2, le=20)] = 5
    repeats: Annotated[int, Field(ge=0, le=100)] = 3
    most_rows: Annotated[int, Field(ge=0)] = 20_000


class MaximumF1(Block):
    """The threshold with the largest F1 of the class."""

    label: Label = Field(alias="class")
    rule: Literal["f1"]


class MinimumRecall(Block):
    """The highest threshold that finds at least this share of the class."""

    label: Label = Field(alias="class")
    rule: Literal["recall"]
    at_least: Annotated[float, Field(gt=0, le=1)]


class LowestCost(Block):
    """The threshold at which the errors cost least."""

    label: Label = Field(alias="class")
    rule: Literal["cost"]
    false_positive: Cost
    false_negative: Cost


class FixedValue(Block):
    """A threshold that is given."""

    label: Label = Field(alias="class")
    rule: Literal["value"]
    value: Annotated[float, Field(gt=0, lt=1)]


Threshold = MaximumF1 | MinimumRecall | LowestCost | FixedValue


# By the words that pydantic puts into a key where one of several kinds is meant.
_TAGGED: dict[str, type[BaseModel]] = {
    "f1": MaximumF1,
    "recall": MinimumRecall,
    "cost": LowestCost,
    "value": FixedValue,
    "range": Range,
}


class Train(Block):
    """What is fitted and under which name it is kept."""

    name: Annotated[str, Field(pattern=NAME)]
    estimator: Annotated[str, Field(pattern=ESTIMATOR)]
    arguments: dict[str, Any]
    early_stopping: Annotated[int, Field(ge=1)] | None
    calibration: Literal["none", "sigmoid", "isotonic"]
    threshold: Annotated[Threshold, Field(discriminator="rule")] | None
    scale: bool | Literal["auto", "power"]
    encode: Literal["auto", "one_hot", "ordinal"]
    rare: Annotated[float, Field(ge=0, lt=1)]
    search: Search
    example: Literal["row", "medians"] = "row"
    seed: Seed


class Evaluate(Block):
    """How the model is scored, beside the scores on the test rows."""

    cross_validation: CrossValidation = CrossValidation()
    slices: list[Name] = []


class Compute(Block):
    """Where it runs; what comes out of the stages before `train` is the same."""

    engine: Literal["local", "dask"]
    scheduler: Name | None
    workers: Annotated[int, Field(ge=1)] | None
    memory: Annotated[str, Field(pattern=MEMORY)] | None


class Against(Block):
    """What a version must not lose against the one that holds the stage.

    Attributes
    ----------
    may_lose
        So much of the metric, in its own unit.
    confidence
        With which a loss, or that there is none, must be certain.
    """

    metric: Metric
    rule: Literal["not_worse", "better"]
    may_lose: Annotated[float, Field(ge=0)] = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95


class Gates(Block):
    """What a version must pass before a stage is given to it; nothing, where they are left out."""

    minimum: dict[Gain, float] = {}
    maximum: dict[Loss, float] = {}
    against: list[Against] = []
    latency_us: Annotated[float, Field(gt=0)] | None = None
    size_mb: Annotated[float, Field(gt=0)] | None = None


class Params(Block):
    """The whole file."""

    raw: Raw
    processed: Processed
    features: Features
    train: Train
    evaluate: Evaluate = Evaluate()
    compute: Compute
    gates: Gates = Gates()


def train(content: Mapping[str, Any], place: str) -> Train:
    """A train block that a search made; a CairnError as `load`'s, of the keys at `place`."""
    try:
        return Train.model_validate(dict(content))
    except ValidationError as error:
        raise _refused(error, place, "train") from None


def load(path: Path = PATH) -> Params:
    """Read and check the whole file.

    Raises
    ------
    CairnError
        For each wrong key or value: the key, what came, what is allowed.
    """
    try:
        return Params.model_validate(read_yaml(path, "run from the top of the repository"))
    except ValidationError as error:
        raise _refused(error, str(path)) from None


def _refused(error: ValidationError, place: str, *block: str) -> CairnError:
    """All that is wrong in the file or in a block, each problem once."""
    problems = [_problem(dict(problem), *block) for problem in error.errors()]
    return CairnError("\n       ".join(dict.fromkeys(f"{place}: {text}" for text in problems)))


def _problem(problem: dict[str, Any], *block: str) -> str:
    """One of pydantic's problems in the file, or in that block, as: key, what came, what may."""
    location = (*block, *problem["loc"])
    *parents, last = location or ("the file",)
    key = _key(".".join(_said(location)[len(block) :])) or "the file"
    if problem["type"] == "extra_forbidden" and (moved := _MOVED.get(location)):
        value = _cut(json.dumps(problem["input"], default=str))
        return (
            f"{key}: this key is in the block `{moved}` now; delete it here and add, at the top "
            f"level of the file, `{moved}:` with the line `  {last}: {value}`"
        )
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed here: {', '.join(_keys(parents))}"
    if problem["type"] == "missing":
        return f"{key}: missing; add it"
    union = _UNIONS.get(str(parents[-1])) if parents else None
    allowed = union or (_VALUES if last == "list" else None)
    return f"{key}: got {_shown(problem['input'])}; allowed: {allowed or _allowed(problem)}"


def _shown(value: Any) -> str:
    """What came, cut where it is long."""
    return _cut(repr(value))


def _key(text: str) -> str:
    """A dotted key on one line, cut where it is long."""
    return _cut(text if text.isprintable() else repr(text))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _said(location: tuple[int | str, ...]) -> list[str]:
    """The parts of a key that stand in the file: pydantic names the kind of a value as well."""
    before = (None, None, *location)
    return [
        str(part)
        for place, part in enumerate(location)
        if before[place + 1] not in _UNIONS
        and not (before[place + 1] == "threshold" and part in _TAGGED)
        and not (before[place] == "values" and part in {"list", "range"})
    ]


def _allowed(problem: dict[str, Any]) -> str:
    """What would have been right, in plain words."""
    if problem["type"] == "string_pattern_mismatch":
        return _PATTERNS[problem["ctx"]["pattern"]]
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] in _WORDS:
        return _WORDS[problem["type"]].format(**problem.get("ctx", {}))
    return str(problem["msg"]).removeprefix("Input should be ").removeprefix("String should ")


def _keys(parents: list[int | str]) -> list[str]:
    """The keys that the block at `parents` takes."""
    block: type[BaseModel] = Params
    for parent in parents:
        if parent in _TAGGED:
            block = _TAGGED[str(parent)]
        elif parent in block.model_fields:
            inside = _blocks(block.model_fields[str(parent)].annotation)
            block = next(iter(inside), block)
    return [field.alias or name for name, field in block.model_fields.items()]


def _blocks(annotation: Any) -> list[type[BaseModel]]:
    """The blocks in a type, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [block for inner in get_args(annotation) for block in _blocks(inner)]
