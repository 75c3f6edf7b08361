from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from cairn.errors import CairnError
from cairn.evaluation.metric_table import DECIDING
from cairn.params.base import PATH, Section, StrictModel
from cairn.params.compute import Compute
from cairn.params.evaluate import CrossValidation, Evaluate
from cairn.params.features import Features
from cairn.params.file import Params, load_params
from cairn.params.gates import Against, Gates
from cairn.params.processed import Processed
from cairn.params.raw import Raw
from cairn.params.train import (
    Range,
    Search,
    Space,
    Threshold,
    Train,
    parse_train,
)
from cairn.yaml_text import read_yaml
from tests.small import PARAMS

ROOT = Path(__file__).resolve().parents[3]
SEEDS = st.integers(0, 2**32 - 1)
# What YAML holds unescaped.
WORDS = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1)
LABELS = st.booleans() | st.integers() | WORDS
FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)
COSTS = st.floats(0, 1e12, exclude_min=True)


def with_rule(rule: str, **values: st.SearchStrategy[float]) -> st.SearchStrategy[Threshold]:
    content = st.fixed_dictionaries({"class": LABELS, "rule": st.just(rule), **values})
    adapter: TypeAdapter[Threshold] = TypeAdapter(Threshold)
    return content.map(adapter.validate_python)


THRESHOLDS = st.one_of(
    with_rule("f1"),
    with_rule("recall", at_least=FRACTIONS),
    with_rule("cost", false_positive=COSTS, false_negative=COSTS),
    with_rule("value", value=FRACTIONS),
)
VALUES = st.none() | st.integers() | WORDS
SPACES = st.builds(
    Space,
    estimator=st.none() | st.just("sklearn.svm.SVC"),
    arguments=st.dictionaries(WORDS, VALUES),
    values=st.dictionaries(
        WORDS,
        st.lists(VALUES, min_size=1)
        | st.builds(
            Range,
            low=st.floats(0.1, 1),
            high=st.floats(2, 9),
            log=st.booleans(),
            whole=st.sampled_from([False]),
        )
        | st.builds(
            Range,
            low=st.integers(1, 2).map(float),
            high=st.integers(3, 2**53).map(float),
            log=st.booleans(),
            whole=st.sampled_from([True]),
        ),
    ),
)
FILES = st.builds(
    Params,
    raw=st.builds(
        Raw, source=WORDS, sha256=st.none() | st.from_regex("[0-9a-f]{64}", fullmatch=True)
    ),
    processed=st.builds(
        Processed,
        target=WORDS,
        identifier=st.none() | WORDS,
        drop=st.lists(WORDS),
        encoding=st.sampled_from(["utf-8", "cp1252", "utf-16"]),
        delimiter=st.none() | st.sampled_from(",;|\t:"),
        header=st.sampled_from(["auto", "first", "none"]) | st.lists(WORDS, min_size=1),
        decimal=st.sampled_from([".", ","]),
        bad_rows=st.sampled_from(["fail", "set_aside"]),
        duplicates=st.sampled_from(["keep", "set_aside", "fail"]),
        max_categories=st.integers(2, 1000),
    ),
    features=st.builds(
        Features,
        test_size=st.floats(0, 1, exclude_min=True, exclude_max=True),
        seed=SEEDS,
    ),
    train=st.builds(
        Train,
        name=st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True),
        estimator=st.just("sklearn.svm.SVC"),
        arguments=st.dictionaries(WORDS, st.none() | st.integers() | st.booleans() | WORDS),
        early_stopping=st.none() | st.integers(1, 99),
        calibration=st.sampled_from(["none", "sigmoid", "isotonic"]),
        threshold=st.none() | THRESHOLDS,
        search=st.builds(
            Search,
            method=st.sampled_from(["none", "random", "halving"]),
            candidates=st.integers(2, 10_000),
            metric=st.sampled_from(["log_loss", "roc_auc"]),
            folds=st.integers(2, 20),
            over=st.lists(SPACES, min_size=1, max_size=2),
        ),
        scale=st.booleans() | st.sampled_from(["auto", "power"]),
        encode=st.sampled_from(["auto", "one_hot", "ordinal"]),
        rare=st.floats(0, 1, exclude_max=True),
        seed=SEEDS,
    ),
    evaluate=st.builds(
        Evaluate,
        cross_validation=st.builds(
            CrossValidation,
            folds=st.integers(2, 20),
            repeats=st.integers(0, 100),
            most_rows=st.integers(0),
        ),
        slices=st.lists(WORDS),
    ),
    compute=st.builds(
        Compute,
        engine=st.sampled_from(["local", "dask"]),
        scheduler=st.none() | WORDS,
        workers=st.none() | st.integers(1, 99),
        memory=st.none() | st.from_regex(r"[1-9]{1,3} ?[kMGT]i?B", fullmatch=True),
    ),
    gates=st.just(Gates()),
)


SEARCH = PARAMS["train"]["search"]


def searched(**values: Any) -> dict[str, Any]:
    """A grid over these values."""
    return {**SEARCH, "method": "grid", "over": [{"values": values}]}


def load(content: Any, folder: Path) -> Params:
    path = folder / "params.yaml"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")  # it is YAML 1.2
    return load_params(path)


def changed(key: str, value: Any) -> dict[str, Any]:
    return within(PARAMS, key.split("."), value)


def within(content: dict[str, Any], key: list[str], value: Any) -> dict[str, Any]:
    """A mapping with one value, at any depth, changed."""
    first, *rest = key
    return {**content, first: within(content[first], rest, value) if rest else value}


SHIPPED = read_yaml(ROOT / PATH, "")


def test_every_key_but_source_and_target_has_a_default_which_is_the_shipped_one(
    tmp_path: Path,
) -> None:
    own = {"raw": {"source": "sklearn:breast_cancer"}, "processed": {"target": "target"}}
    assert load(own, tmp_path) == load_params(ROOT / PATH)
    required = {
        f"{section}.{name}"
        for section, field in Params.model_fields.items()
        for name, inner in model_of(field).model_fields.items()
        if inner.is_required()
    }
    assert required == {"raw.source", "processed.target"}


@pytest.mark.parametrize("section", Params.model_fields)
@pytest.mark.parametrize("empty", [None, {}])
def test_a_section_with_nothing_in_it_has_its_defaults(
    section: str, empty: Any, tmp_path: Path
) -> None:
    needed = {"raw": {"source": "x"}, "processed": {"target": "x"}}
    content = {**SHIPPED, section: needed.get(section, empty)}
    defaults = model_of(Params.model_fields[section]).model_validate(needed.get(section, {}))
    assert getattr(load(content, tmp_path), section) == defaults


def test_the_arguments_of_the_default_estimator_are_not_those_of_another() -> None:
    assert Train().arguments == {"n_estimators": 100}
    assert Train(estimator="sklearn.svm.SVC").arguments == {}


# As the first commit that had this file wrote it.
FIRST = """\
raw: {source: sklearn:breast_cancer, sha256: null}
processed: {target: target, drop: [], bad_rows: fail, max_categories: 100}
features: {test_size: 0.2, seed: 42}
train:
  name: cairn
  estimator: sklearn.ensemble.RandomForestClassifier
  arguments: {n_estimators: 100}
  scale: false
  seed: 42
"""


def test_a_file_of_the_first_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(FIRST)
    loaded = load_params(path)
    assert (loaded.processed.bad_rows, loaded.train.scale) == ("fail", False)
    assert loaded.gates == Gates()


def model_of(field: FieldInfo) -> type[Section]:
    kind = field.annotation
    assert isinstance(kind, type)
    assert issubclass(kind, Section)
    return kind


def test_the_shipped_file_shows_every_key() -> None:
    """Those of the mappings in it, too; of a union or a list it shows the form."""
    assert set(SHIPPED) == set(Params.model_fields)
    for section, field in Params.model_fields.items():
        model = model_of(field)
        assert model.key() == section
        assert list(SHIPPED[section]) == list(model.model_fields)
        for name, inner in model.model_fields.items():
            if isinstance(inner.annotation, type) and issubclass(inner.annotation, StrictModel):
                assert list(SHIPPED[section][name]) == list(inner.annotation.model_fields)
    assert set(SHIPPED["gates"]["against"][0]) == set(Against.model_fields)
    assert set(SHIPPED["train"]["search"]["over"][0]) == set(Space.model_fields)


@settings(max_examples=50)
@given(written=FILES)
def test_what_is_written_is_what_is_read(
    written: Params, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert load(written.model_dump(by_alias=True), tmp_path_factory.getbasetemp()) == written


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("features.test_size", 1, "got 1; allowed: a number, over 0, under 1"),
        ("features.test_size", 0.0, "got 0.0; allowed: a number, over 0, under 1"),
        ("features.test_size", "0.2", "got '0.2'; allowed: a number, over 0, under 1"),
        ("features.seed", -1, "got -1; allowed: a whole number, at least 0, at most 4,294,967,295"),
        ("features.seed", 2**32, "allowed: a whole number, at least 0, at most 4,294,967,295"),
        ("features.seed", 1.0, "got 1.0; allowed: a whole number, at least 0, at most 4,"),
        ("features.seed", True, "got True; allowed: a whole number, at least 0, at most 4"),
        ("processed.bad_rows", "drop", "got 'drop'; allowed: 'fail' or 'set_aside'"),
        ("processed.drop", "id", "got 'id'; allowed: a list"),
        ("processed.max_categories", 1, "got 1; allowed: a whole number, at least 2, at most 1,"),
        ("processed.target", "", "got ''; allowed:"),
        ("raw.sha256", "abc", "got 'abc'; allowed:"),
        ("train.estimator", "xgboost.XGBClassifier", "got 'xgboost.XGBClassifier'; allowed:"),
        ("train.name", "Cairn", "got 'Cairn'; allowed:"),
        ("processed.encoding", "utf-9", "got 'utf-9'; allowed:"),
        ("processed.delimiter", "", "got ''; allowed:"),
        ("processed.delimiter", ", ", "got ', '; allowed:"),
        ("processed.header", "nun", "got 'nun'; allowed: 'auto', 'first', 'none' or a list of nam"),
        ("processed.header", [], "got []; allowed: 'auto', 'first', 'none' or a list of names"),
        ("processed.header", None, "got None; allowed: 'auto', 'first', 'none' or a list of nam"),
        ("processed.decimal", ";", "got ';'; allowed: '.' or ','"),
        ("processed.duplicates", "drop", "got 'drop'; allowed: 'keep', 'set_aside' or 'fail'"),
        ("processed.identifier", 7, "got 7; allowed: a text"),
        ("train.encode", "hash", "got 'hash'; allowed: 'auto', 'one_hot' or 'ordinal'"),
        ("train.rare", 1, "got 1; allowed: a number, at least 0, under 1"),
        ("train.search", [], "got []; allowed: a mapping with the keys method, candidates, "),
        ("train.search.method", "all", "got 'all'; allowed: 'none', 'grid', 'random' or 'halving'"),
        ("train.search", {**SEARCH, "method": "grid"}, "for method grid an entry in over"),
        (
            "train.search",
            searched(C=[1], D={"low": 1, "high": 2}),
            "D is a range: random draws from",
        ),
        ("train.scale", "much", "got 'much'; allowed: true, false, 'auto' or 'power'"),
        ("train.calibration", "beta", "got 'beta'; allowed: 'none', 'sigmoid' or 'isotonic'"),
        ("train.early_stopping", 0, "got 0; allowed: a whole number, at least 1"),
        ("evaluate.cross_validation.folds", 1, "got 1; allowed: a whole number, at least 2, at"),
        ("train.threshold", 0.3, "got 0.3; allowed: null, or a mapping with a class an"),
        ("train.threshold", {"class": 0}, "got {'class': 0}; allowed: null, or a mapping w"),
        ("train.threshold", {"rule": "best"}, "a rule: f1, recall, cost or value"),
        ("evaluate.slices", "plan", "got 'plan'; allowed: a list"),
        ("compute.engine", "spark", "got 'spark'; allowed: 'local' or 'dask'"),
        ("compute.workers", 0, "got 0; allowed: a whole number, at least 1"),
        ("compute.memory", "2 gigs", "got '2 gigs'; allowed: an amount of memory, such as 2GiB"),
        ("train.arguments", None, "got None; allowed: a mapping"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    key: str, value: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CairnError) as error:
        load(changed(key, value), tmp_path)
    assert f"{key}: " in str(error.value)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


SPACE = "train.search.over.0.values"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "threshold",
            {"class": None, "rule": "f1"},
            "train.threshold.class: got None; allowed: a la",
        ),
        ("threshold", {"class": 1, "rule": "recall"}, "train.threshold.at_least: missing; add it"),
        (
            "threshold",
            {"class": 1, "rule": "recall", "at_least": 1, "at_most": 1},
            "train.threshold.at_most: unknown key; allowed here: class, rule, at_least",
        ),
        (
            "threshold",
            {"class": 1, "rule": "cost", "false_positive": 1e308, "false_negative": 1},
            "train.threshold.false_positive: got 1e+308; allowed: a number, over 0, at most 1,",
        ),
        ("search", searched(C=3), f"{SPACE}.C: got 3; allowed: a list of one or more values, "),
        ("search", searched(C=[]), f"{SPACE}.C: got []; allowed: a list of one or more values"),
        ("search", searched(C={"low": 3}), f"{SPACE}.C.high: missing; add it"),
        ("search", searched(C={"low": 3, "high": 2}), "allowed: low under high; 3 is not under 2"),
        (
            "search",
            searched(C={"low": 0, "high": 2, "log": True}),
            "a low over 0 where log is true",
        ),
        (
            "search",
            searched(C={"low": 1.5, "high": 2, "whole": True}),
            "allowed: integers up to 2**53 where whole is true; one is 1.5",
        ),
        ("search", searched(C={"low": 1, "high": 1e30, "whole": True}), "; one is 1e+30"),
        (
            "search",
            searched(C={"low": 1, "high": 2, "step": 1}),
            f"{SPACE}.C.step: unknown key; allowed here: low, high, log, whole",
        ),
        (
            "search",
            {**SEARCH, "over": [{"value": {}}]},
            "train.search.over.0.value: unknown key; allowed here: estimator, arguments, values",
        ),
        (
            "search",
            {**SEARCH, "tries": 3},
            "train.search.tries: unknown key; allowed here: method, candidates, metric, folds, ",
        ),
    ],
)
def test_a_wrong_value_deep_inside_is_named_as_it_stands_in_the_file(
    key: str, value: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CairnError) as error:
        load(changed(f"train.{key}", value), tmp_path)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_block_of_a_search_is_held_to_the_same(tmp_path: Path) -> None:
    content = load(PARAMS, tmp_path).train.model_dump(by_alias=True)
    assert parse_train(content, "here") == load(PARAMS, tmp_path).train
    with pytest.raises(CairnError, match=r"^here: scale: got 3; allowed: true, false, 'auto' or "):
        parse_train({**content, "scale": 3}, "here")


def test_an_unknown_key_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(CairnError) as error:
        load(changed("features.shuffle", value=True), tmp_path)
    assert "features.shuffle: unknown key; allowed here: test_size, seed" in str(error.value)


def test_an_encoding_has_the_name_that_python_gives_it(tmp_path: Path) -> None:
    assert load(changed("processed.encoding", "UTF8"), tmp_path).processed.encoding == "utf-8"


def test_an_unknown_block_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(CairnError) as error:
        load({**PARAMS, "serve": {}}, tmp_path)
    assert (
        "serve: unknown key; allowed here: raw, processed, features, train, evaluate, compute"
        in str(error.value)
    )


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    content = {**PARAMS, "processed": {"drop": []}}
    with pytest.raises(CairnError, match=r"processed\.target: missing; add it, such as `target: "):
        load(content, tmp_path)


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    content = {**changed("features.seed", -1), "raw": {"sha256": None}}
    with pytest.raises(CairnError) as error:
        load(content, tmp_path)
    first, second = str(error.value).splitlines()
    assert "raw.source" in first
    assert "features.seed" in second


@pytest.mark.parametrize("content", [None, [], "text", 3])
def test_a_file_that_is_no_mapping_is_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(CairnError, match=r"the file: got .*; allowed: a mapping with the keys"):
        load(content, tmp_path)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("raw: [\n", 2),
        ("raw:\n  source: a: b\n", 2),
        ("raw:\n\tsource: a\n", 2),
        ("raw:\n  source: 'a\n", 3),
        ("<<<<<<< HEAD\nraw:\n", 2),
        ("raw: *other\n", 1),
        ("raw: !!python/name:os.system\n", 1),
        ("a: 1\n---\na: 2\n", 2),
    ],
)
def test_what_is_no_yaml_is_named_with_its_place(content: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(CairnError, match=rf"params\.yaml: line {line}: not YAML: \S+") as error:
        load_params(path)
    assert len(str(error.value).splitlines()) == 1


def test_a_sign_that_no_yaml_may_hold_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("raw: \x00\n")
    with pytest.raises(CairnError, match=r"params\.yaml: .*not YAML: .*#x0000") as error:
        load_params(path)
    assert len(str(error.value).splitlines()) == 1


def test_no_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(CairnError, match="no such file; run from the top of the repository"):
        load_params(tmp_path / "params.yaml")


def test_params_never_change(tmp_path: Path) -> None:
    loaded = load(PARAMS, tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        loaded.features.seed = 1  # type: ignore[misc]


def test_what_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes("raw: größe\n".encode("latin-1"))
    with pytest.raises(CairnError, match=r"params\.yaml: not UTF-8 text \(byte 7: "):
        load_params(path)


def test_a_key_that_stands_twice_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    written = yaml.safe_dump(PARAMS)
    path.write_text(written + "features:\n  seed: 1\n  test_size: 0.5\n")
    line = len(written.splitlines()) + 1
    with pytest.raises(CairnError, match=rf"line {line}: .*duplicate key .features.") as error:
        load_params(path)
    assert len(str(error.value).splitlines()) == 1


def test_yaml_is_read_as_dvc_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    content = changed("processed.target", "TARGET")
    path.write_text(yaml.safe_dump(content).replace("TARGET", "off"), encoding="utf-8")
    assert load_params(path).processed.target == "off"  # in YAML 1.1 it is false


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("gates.size_mb", "a" * 300, f"gates.size_mb: got '{'a' * 199}…; allowed: "),
        ("features.seed", list(range(10_000)), "features.seed: got [0, 1, 2, "),
        ("train.a\nb", 1, "'train.a\\nb': unknown key; allowed here: "),
        (f"train.{'a' * 300}", 1, f"train.{'a' * 194}…: unknown key; allowed here: "),
    ],
)
def test_what_is_long_or_odd_is_one_short_line(
    key: str, value: Any, message: str, tmp_path: Path
) -> None:
    block, _, name = key.partition(".")
    content = {**PARAMS, block: {**PARAMS.get(block, {}), name: value}}
    with pytest.raises(CairnError) as error:
        load(content, tmp_path)
    [line] = str(error.value).splitlines()
    assert message in line
    assert len(line) < 700 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("slices", ["plan"], '  slices: ["plan"]'),
        ("cross_validation", {"folds": 3}, '  cross_validation: {"folds": 3}'),
    ],
)
def test_a_key_that_has_moved_comes_with_the_edit(
    key: str, value: Any, line: str, tmp_path: Path
) -> None:
    with pytest.raises(CairnError) as error:
        load({**PARAMS, "train": {**PARAMS["train"], key: value}}, tmp_path)
    assert str(error.value).endswith(
        f"train.{key}: this key is in `evaluate` now; delete it here and add, at the top "
        f"level of the file, `evaluate:` with the line `{line}`"
    )
    edited = yaml.safe_load(f"evaluate:\n{line}\n")
    assert load({**PARAMS, **edited}, tmp_path).evaluate.model_dump()[key]


def test_the_metrics_are_those_of_the_table() -> None:
    search = {**PARAMS["train"]["search"], "metric": "calibration_error"}
    with pytest.raises(ValidationError, match="metric"):
        Search.model_validate(search)
    for name in DECIDING:
        assert Search.model_validate({**search, "metric": name}).metric == name
