from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import is_classifier
from sklearn.metrics import get_scorer

from cairn import inference
from cairn.contract import Column, Contract, Target, Threshold
from cairn.errors import CairnError
from cairn.modeling.frame_pipeline import FramePipeline, build_matrix, match_names
from cairn.transform import to_matrix
from service.inference.rows import Reader
from tests import small
from tests.conftest import ROOT
from tests.small import ENGINEERING

# Names as a table has them.
HEADERS = {"opened": "opened on", "area": "area (m2)", "colour": "col.our", "flag": "flag?"}


def kept(**target: Any) -> FramePipeline:
    """Build the model of FULL, its columns under other headers."""
    columns = tuple(
        column.model_copy(update={"header": HEADERS.get(column.name)})
        for column in small.FULL.columns
    )
    changed = {"columns": columns, "target": small.FULL.target.model_copy(update=target)}
    return FramePipeline(small.FULL.model_copy(update=changed), small.full().pipeline, ENGINEERING)


def frame() -> pd.DataFrame:
    return pd.DataFrame(small.full_rows())


def onnx() -> inference.Predictions:
    """Predict the same rows as the service does."""
    rows = [[row[name] for name in small.FULL.names] for row in small.full_rows()]
    return inference.predict(
        inference.open_session(small.full().graph), to_matrix(rows, small.FULL, ENGINEERING)
    )


def test_a_frame_gets_the_labels_and_probabilities_of_the_service() -> None:
    predictions, model = onnx(), kept()
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.predict(frame()).tolist() == [("no", "yes")[code] for code in predictions.labels]
    np.testing.assert_allclose(model.predict_proba(frame()), predictions.probabilities, atol=1e-6)
    assert set(predictions.labels.tolist()) == {0, 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.rename(columns=HEADERS),
        lambda rows: rows[rows.columns[::-1]].assign(comment="more", kind="no"),
        lambda rows: rows.assign(
            opened=pd.to_datetime(rows["opened"]), born=pd.to_datetime(rows["born"])
        ),
        lambda rows: rows.assign(opened=pd.to_datetime(rows["opened"]).dt.tz_localize("UTC")),
        lambda rows: rows.assign(
            born=[date.fromisoformat(day) if isinstance(day, str) else None for day in rows["born"]]
        ),
        lambda rows: rows.convert_dtypes(),
        lambda rows: rows.assign(colour=rows["colour"].astype("category")),
        lambda rows: rows.assign(colour=" " + rows["colour"] + " "),
        lambda rows: rows.assign(
            area=rows["area"].astype(str), branch=rows["branch"].map("{:.0f}".format)
        ),
        lambda rows: rows.set_index(np.arange(len(rows))[::-1]),
        lambda rows: pd.read_csv(io.StringIO(rows.to_csv(index=False))),
        lambda rows: pd.read_csv(io.StringIO(rows.to_csv(index=False)), dtype=str),
        lambda rows: pd.read_csv(
            io.StringIO(rows.to_csv(index=False)), dtype=str, keep_default_na=False
        ),
        lambda rows: rows.to_dict("records"),
        lambda rows: rows.to_dict("list"),
    ],
)
def test_whatever_form_pandas_gives_a_row_the_answer_is_the_same(change: Any) -> None:
    model = kept()
    np.testing.assert_array_equal(
        model.predict_proba(change(frame())), model.predict_proba(frame())
    )


def test_headers_are_known_that_make_the_names_of_the_contract() -> None:
    columns = [
        Column(name=name, header=label, kind="number")
        for name, label in (("mean_area", None), ("x", None), ("x_2", "x"), ("avg_age", "avg(age)"))
    ]
    contract = Contract(columns=tuple(columns), target=Target(name="y", classes=(0, 1)))
    labels = ["avg(age)", "mean area (cm2)", "x", "note", "x.1"]
    assert match_names(labels, contract) == ["avg_age", "mean_area", "x", "note", "x_2"]
    twice = [Column(name=name, header="a b", kind="number") for name in ("a_b", "a_b_2")]
    contract = Contract(columns=tuple(twice), target=Target(name="y", classes=(0, 1)))
    assert match_names(["a b.1", "a b"], contract) == ["a_b_2", "a_b"]


def test_nothing_that_is_given_is_changed() -> None:
    rows = frame()
    kept().predict(rows)
    pd.testing.assert_frame_equal(rows, frame())


def test_a_threshold_decides_as_in_the_service() -> None:
    threshold = Threshold(label="yes", value=0.9)
    model, predictions = kept(threshold=threshold), onnx().with_threshold(1, 0.9)
    assert model.predict(frame()).tolist() == [("no", "yes")[code] for code in predictions.labels]
    assert model.predict(frame()).tolist() != kept().predict(frame()).tolist()


def test_a_column_that_may_be_missing_may_be_left_out() -> None:
    gone = frame().assign(born=None)
    np.testing.assert_array_equal(
        kept().predict_proba(frame().drop(columns="born")), kept().predict_proba(gone)
    )


def test_all_that_is_wrong_is_reported_at_once() -> None:
    rows = frame().drop(columns="opened").astype({"size": object, "flag": object})
    rows.loc[2, "flag"], rows.loc[[1, 3, 4, 5], "size"], rows.loc[0, "area"] = "maybe", "big", None
    with pytest.raises(CairnError) as error:
        kept().predict(rows)
    text = str(error.value)
    assert text.startswith("the rows have no 'opened on'; they have 'born', 'area', ")
    assert "flag?: got 'maybe' in row 2; allowed: true or false" in text
    assert "size: got 'big' in row 1, 'big' in row 3, 'big' in row 4 and 1 more; allowed: " in text
    assert "area (m2): got nan in row 0; allowed: a value; none may be missing" in text


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (Column(name="x", kind="number", minimum=0, maximum=9), 10, "got 10 in row 0; allowed: 0"),
        (Column(name="x", kind="integer"), 1.5, "allowed: whole numbers"),
        (Column(name="x", kind="number"), 1e39, "got 1e+39 in row 0"),
        (Column(name="x", kind="category", categories=("a", "b")), "c", "allowed: 'a', 'b'"),
        (Column(name="x", kind="category", categories=(1, 2)), "c", "allowed: whole numbers"),
        (Column(name="x", kind="date", parts=("year",)), "31.12.2024", "allowed: dates"),
    ],
)
def test_what_the_contract_does_not_allow_is_refused(
    column: Column, value: Any, message: str
) -> None:
    contract = Contract(columns=(column,), target=Target(name="y", classes=(0, 1)))
    with pytest.raises(CairnError, match=r"^x: got ") as error:
        FramePipeline(contract, small.full().pipeline, ENGINEERING).predict(
            pd.DataFrame({"x": [value]})
        )
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        (Column(name="x", kind="category", categories=(" a", "b")), " a", 0.0),
        (Column(name="x", kind="category", categories=(" a", "b")), " b ", 1.0),
        (Column(name="x", kind="category", categories=("NA", "b"), missing=True), "NA", 0.0),
        (
            Column(name="x", kind="category", categories=(1, 99), missing=True, markers=("99",)),
            "99",
            np.nan,
        ),
    ],
)
def test_texts_are_cleaned_as_the_service_cleans_them(
    column: Column, value: str, code: float
) -> None:
    contract = Contract(columns=(column,), target=Target(name="y", classes=(0, 1)))
    [[offline]] = build_matrix(pd.DataFrame({"x": [value]}), contract, ENGINEERING)
    np.testing.assert_array_equal(offline, np.float32(code))
    body = json.dumps({"records": [{"x": value}]}).encode()
    [[online]] = to_matrix(Reader(contract).read(body).values, contract, ENGINEERING)
    np.testing.assert_array_equal(offline, online)


def test_texts_are_read_by_the_format_of_their_column() -> None:
    columns = (
        Column(name="price", kind="number", format="1.234,5 €"),
        Column(name="day", kind="date", format="%d.%m.%Y", parts=("month",)),
        Column(name="flown", kind="date", format="%Y%m%d", parts=("year", "month")),
        Column(name="zip", kind="category", categories=("07030", "7030")),
        Column(name="left", kind="number", missing=True, markers=("?",)),
    )
    contract = Contract(columns=columns, target=Target(name="y", classes=(0, 1)))
    row = {
        "price": "2.500,5 €",
        "day": "11.05.2023",
        "flown": 20240229,
        "zip": "07030",
        "left": "?",
    }
    calls: list[list[float]] = []

    class Asked:
        def predict_proba(self, rows: Any) -> Any:
            calls.extend(rows.tolist())
            return np.array([[0.5, 0.5]])

        def predict(self, rows: Any) -> Any:
            return np.zeros(len(rows), dtype=np.int64)

    FramePipeline(contract, Asked(), ENGINEERING).predict(pd.DataFrame([row]))
    np.testing.assert_array_equal(calls, [[2500.5, 5, 2024, 2, 0, np.nan]])


@pytest.mark.parametrize("values", [[7030, 1], ["07030", "001"], [7030.0, 1.0]])
def test_codes_that_pandas_read_as_numbers_are_their_categories(values: list[Any]) -> None:
    column = Column(name="zip", kind="category", categories=("001", "07030"))
    contract = Contract(columns=(column,), target=Target(name="y", classes=(0, 1)))
    matrix = build_matrix(pd.DataFrame({"zip": values}), contract, ENGINEERING)
    assert matrix.tolist() == [[1], [0]]


def test_columns_that_stand_twice_are_refused() -> None:
    rows = frame().assign(**{"area (m2)": 1.0})
    with pytest.raises(CairnError, match="the rows have the column 'area' twice"):
        kept().predict(rows)


def test_other_code_of_features_is_refused() -> None:
    model = kept()
    contract = model.contract.model_copy(update={"engineering": "0" * 64})
    with pytest.raises(CairnError, match=r"engineering\.py is not the one"):
        FramePipeline(contract, model.pipeline, ENGINEERING).predict(frame())


def test_its_bytes_do_not_depend_on_what_it_was_asked(tmp_path: Path) -> None:
    one, two = kept(), kept()
    joblib.dump(one, tmp_path / "one")
    two.predict(frame())
    joblib.dump(two, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_another_process_loads_it_without_any_import(tmp_path: Path) -> None:
    joblib.dump(kept(), tmp_path / "pipeline.joblib")
    frame().rename(columns=HEADERS).to_csv(tmp_path / "rows.csv", index=False)
    code = (
        "import joblib, pandas as pd\n"
        f"model = joblib.load({str(tmp_path / 'pipeline.joblib')!r})\n"
        f"print(*model.predict(pd.read_csv({str(tmp_path / 'rows.csv')!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == kept().predict(frame()).tolist()


def test_scikit_learn_takes_it_for_a_fitted_classifier() -> None:
    truth = kept().predict(frame())
    assert is_classifier(kept())
    assert kept().score(frame(), truth) == 1
    assert get_scorer("neg_log_loss")(kept(), frame(), truth) > -0.7
    assert "FramePipeline" in repr(kept())


def test_codes_that_pandas_reads_as_numbers_are_the_texts_that_they_were() -> None:
    column = Column(name="zip", kind="category", categories=("01099", "007", "07", "12"))
    contract = Contract(columns=(column,), target=Target(name="y", classes=(0, 1)))
    frame = pd.DataFrame({"zip": [1099, 12]})
    matrix = build_matrix(frame, contract, ENGINEERING)
    assert matrix[:, 0].tolist() == [column.code("01099"), column.code("12")]
    with pytest.raises(CairnError, match="got 7 in row 0"):
        build_matrix(pd.DataFrame({"zip": [7]}), contract, ENGINEERING)
