"""Real tables that nobody here wrote: two edits, and each is trained and answers its own rows."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.contract import NUMBERS, Contract
from cairn.errors import CairnError
from cairn.paths import CONTRACT, MODEL, PIPELINE, RAW
from cairn.tables import contract_file
from service.inference.predictor import Predictor
from service.inference.rows import Reader
from stages import features, processed, train
from tests import small
from tests.cairn.tables.tables import as_csv, run
from tests.conftest import ROOT, Project, copy

CORPUS = ROOT / "tests" / "corpus"
DOCS = (ROOT / "docs" / "own-table.md").read_text()
ROWS = 100


class Table(NamedTuple):
    """A table of the corpus: the edits, and the kinds that a person sees in it."""

    target: str
    kinds: dict[str, int]
    left_out: tuple[str, ...] = ()
    header: str = "auto"


TABLES = {
    "penguins": Table("species", {"category": 2, "number": 2, "integer": 2}),
    "mushrooms": Table("class", {"category": 21}, ("veil_type",)),
    "winequality-white": Table("quality", {"number": 11}),
    "bank-additional": Table("y", {"integer": 5, "number": 5, "category": 10}),
    "german": Table("column_21", {"integer": 7, "category": 13}, header="none"),
    "credit_card": Table("default.payment.next.month", {"integer": 16, "number": 7}, ("ID",)),
    "abalone": Table("column_9", {"category": 1, "number": 7}, header="none"),
    # Its last column is a price; what the insurers' symbol of risk is, is a class.
    "auto_imports": Table("column_1", {"category": 10, "number": 7, "integer": 8}, header="none"),
}


def edit(name: str, **processed_: Any) -> None:
    """Write params.yaml: source, target, and a small model."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["processed"] |= {"target": TABLES[name].target, "header": TABLES[name].header}
    params["processed"] |= processed_
    params["train"] |= {"arguments": {"n_estimators": 10, "max_depth": 8}}
    params["evaluate"]["cross_validation"]["repeats"] = 0
    Path("params.yaml").write_text(yaml.safe_dump(params))


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one of the tables as its raw data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    small.use_few_resamples(monkeypatch)
    RAW.parent.mkdir(parents=True)
    name = request.node.callspec.params["name"]
    shutil.copy(CORPUS / f"{name}.csv", RAW)
    edit(name)
    return tmp_path


def cells(name: str, contract: Contract) -> list[dict[str, str]]:
    """The first rows as Python's CSV reader has them, under the table's headers."""
    text = (CORPUS / f"{name}.csv").read_text()
    delimiter = ";" if ";" in text.split("\n", 1)[0] else ","
    names = list(contract.headers.values()) if TABLES[name].header == "none" else None
    if names:
        names = [f"column_{index + 1}" for index in range(len(names))]
    reader = csv.DictReader(io.StringIO(text), names, delimiter=delimiter)
    return [row for row, _ in zip(reader, range(ROWS), strict=False)]


def frame(rows: list[dict[str, str]]) -> pd.DataFrame:
    """The same rows as pandas reads them."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    file.seek(0)
    return pd.read_csv(file)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", TABLES)
def test_a_table_goes_through_at_the_first_try_and_its_own_rows_are_answered(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    processed.main()
    shown = capsys.readouterr().out
    assert without_blanks(decisions(shown)) == without_blanks(documented(name))
    contract = contract_file.read(CONTRACT)
    kinds = [column.kind for column in contract.columns]
    assert {kind: kinds.count(kind) for kind in kinds} == TABLES[name].kinds
    assert tuple(column.name for column in contract.left_out) == TABLES[name].left_out
    features.main()
    with small.store(folder / "bentoml"):
        train.main()
    predictor = Predictor(MODEL, "cairn:test", {})
    rows = cells(name, contract)
    answers = ask(predictor, rows)
    pandas = frame(rows)
    as_json = json.loads(pandas.to_json(orient="records"))
    assert ask(predictor, as_json) == answers
    with_none = pandas.astype(object).where(pandas.notna(), None).to_dict(orient="records")
    assert ask(predictor, json.loads(json.dumps(with_none))) == answers
    kept = joblib.load(PIPELINE)
    assert kept.predict(pandas).tolist() == answers


def ask(predictor: Predictor, rows: list[dict[str, Any]]) -> list[Any]:
    """What the service answers rows, each of them with all columns of the table."""
    body = json.dumps({"records": rows}).encode()
    read, matrix = predictor.read(body)
    return predictor.make_answer(predictor.run(matrix), read, "id")["predictions"]  # type: ignore[no-any-return]


def decisions(text: str) -> str:
    """The table of columns that the stage prints."""
    result = re.search(r"^column .*?(?=^$)", text, re.MULTILINE | re.DOTALL)
    assert result, text
    return result[0]


def documented(name: str) -> str:
    """The same as the docs have it."""
    result = re.search(rf"^### {name}\n.*?^```\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
    assert result, name
    return result[1]


def without_blanks(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("name", ["german", "abalone", "auto_imports"])
@pytest.mark.usefixtures("folder")
def test_a_file_without_a_header_is_reported_with_the_edit(name: str) -> None:
    edit(name, header="auto")
    with pytest.raises(CairnError, match=r"first row looks like data.* processed\.header: none"):
        processed.main()


@pytest.mark.parametrize("name", ["auto_imports"])
@pytest.mark.usefixtures("folder")
def test_a_price_as_target_is_reported_as_a_number(name: str) -> None:
    edit(name, target="column_26")
    with pytest.raises(CairnError, match="target 'column_26' is a number: 186 different values"):
        processed.main()


CHURN = """customer;bought;plan;note;spent;churned
{rows}"""


def churn(count: int) -> str:
    """A table as the docs speak of one: a number a row, dates, categories, euros."""
    plans = ("basic", "plus", "pro")
    rows = [
        f"{1000 + 7 * n};{n % 28 + 1:02}.{n % 12 + 1:02}.2023;{plans[n % 3]};said {n} things to us;"
        f"{1000 + n * 37 % 900},50 €;{'yes' if n % 5 < 2 else 'no'}"
        for n in range(count)
    ]
    return CHURN.format(rows="\n".join(rows) + "\n")


@pytest.mark.slow
@pytest.mark.long
def test_the_docs_do_what_they_say(project: Project, tmp_path: Path) -> None:
    own = copy(project, tmp_path)
    root = own.root
    (root / "tables").mkdir()
    (root / "tables" / "churn.csv").write_text(churn(300))
    edits, _, formats = (yaml.safe_load(text) for text in blocks("yaml"))
    assert set(formats["processed"]["formats"]) == {"bought", "price"}
    params = yaml.safe_load((root / "params.yaml").read_text())
    for section, keys in edits.items():
        params[section] |= keys
    params["evaluate"]["cross_validation"]["repeats"] = 0
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    [commands] = blocks("console")
    output = own.run("bash", "-ec", commands).stdout
    assert "left out" in output
    contract = contract_file.read(root / "data/processed/contract.yaml")
    assert {c.name: c.kind for c in contract.columns} == {
        "bought": "date", "plan": "category", "spent": "number",
    }  # fmt: skip
    assert {c.name: c.reason for c in contract.left_out} == {
        "customer": "identifier", "note": "free text",
    }  # fmt: skip
    [code] = blocks("python")
    ask = "import pandas as pd\nframe = pd.read_csv('tables/churn.csv', sep=';')\n"
    answer = own.run("python", "-c", f"{code}\n{ask}print(len(model.predict(frame)))")
    assert answer.stdout.splitlines()[-1] == "300"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("header", [",age,size,y", ",age,,y", "a,age,,y", "a,age,size,y,"])
@pytest.mark.usefixtures("tmp_folder")
def test_rows_of_a_table_with_columns_without_a_header_are_requests(header: str) -> None:
    """The index that `to_csv` wrote, and others; the rows as a CSV reader and pandas have them."""
    end = "," * header.endswith(",")
    table = f"{header}\n" + "".join(
        f"{n},{20 + n % 9},{n % 4 / 2},{'uv'[n % 2]}{end}\n" for n in range(40)
    )
    contract, kept, _ = run(table)
    listed = list(csv.DictReader(io.StringIO(table)))
    framed = json.loads(pd.read_csv(io.StringIO(table)).to_json(orient="records"))
    if header == ",age,,y":  # a CSV reader has one key for both
        listed = framed
    for rows in (listed, framed):
        read = Reader(contract).read(json.dumps({"records": rows}).encode())
        assert list(map(list, read[0])) == kept[list(contract.names)].to_numpy().tolist()


@pytest.fixture
def tmp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


CELLS_OF: dict[str, st.SearchStrategy[str]] = {
    "whole": st.integers(-999, 999).map(str),
    "fraction": st.floats(-1e6, 1e6).map(lambda value: f"{value:.3f}"),
    "euros": st.integers(0, 10**7).map(lambda value: f"{value / 100:,.2f} €"),
    "share": st.integers(0, 1000).map(lambda value: f"{value / 10} %"),
    "plan": st.sampled_from(["basic", " plus", "größe ", "a,b", 'the "best"']),
    "day": st.dates(date(1950, 1, 1), date(2050, 1, 1)).map(lambda day: f"{day:%d.%m.%Y}"),
    "flag": st.sampled_from(["true", "False"]),
    "code": st.integers(0, 99).map(lambda value: f"{value:05}"),
}
GAPS = st.sampled_from(["", "NA", "?"])
HEADERS = st.sampled_from(
    ["emp.var.rate", "a-b", "Größe (cm)", "avg(age)", "x y", "日本 (語)", "%"]
)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), kinds=st.lists(st.sampled_from(list(CELLS_OF)), min_size=1, max_size=4))
def test_any_table_s_own_rows_are_requests_that_its_contract_takes(
    data: st.DataObject, kinds: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    headers = data.draw(
        st.lists(HEADERS, min_size=len(kinds), max_size=len(kinds), unique=True), "headers"
    )
    size = data.draw(st.integers(20, 40), "rows")
    gap = st.one_of(*[st.none()] * 9, GAPS)
    columns = [[data.draw(gap) or data.draw(CELLS_OF[kind]) for _ in range(size)] for kind in kinds]
    rows = [
        {**dict(zip(headers, cells, strict=True)), "y": "uv"[index % 2]}
        for index, cells in enumerate(zip(*columns, strict=True))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("own"))
        try:
            contract, kept, report = run(as_csv(rows), bad_rows="set_aside")
        except CairnError as error:
            assert re.search("no column is left|processed.formats", str(error))  # noqa: PT017
            return
    assert report["kept"] == len(kept) == size
    read = Reader(contract).read(json.dumps({"records": rows}).encode())
    for column, values in zip(contract.columns, zip(*read[0], strict=True), strict=True):
        if column.kind != "date":
            ours = [None if pd.isna(value) else value for value in kept[column.name]]
            theirs = [np.float32(v) if isinstance(v, float | int) and column.kind in NUMBERS else v
                      for v in values]  # fmt: skip
            assert ours == theirs, column


@pytest.mark.parametrize(("most", "listed"), [(100, ["a", "b", "late"]), (2, ["a", "b"])])
@pytest.mark.usefixtures("tmp_folder")
def test_rows_without_a_label_are_requests_whatever_only_they_have(
    most: int, listed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A category, a missing value, a marker: nothing is learned from them, and they may be sent."""
    cells = [("ab"[n % 2], f"{n / 4}", f"{n % 7}", f"{n % 28 + 1:02}.05.2023") for n in range(40)]
    rows = [
        {**dict(zip("cnmd", each, strict=True)), "y": "uv"[n % 2]} for n, each in enumerate(cells)
    ]
    rows += [
        {"c": "late", "n": "1", "m": "", "d": "01.05.2023", "y": ""},
        {"c": "?", "n": "?", "m": "2", "d": "unknown", "y": ""},
    ]
    contract, kept, _ = run(as_csv(rows), max_categories=most, bad_rows="set_aside")
    assert len(kept) == 40
    assert [column.missing for column in contract.columns] == [True] * 4
    assert list(contract.columns[0].categories) == listed
    assert contract.columns[0].unknown == (most == 2)
    says = '1 category is only in rows without a label{}, such as "late"'
    assert says.format(" and becomes one unknown group" * (most == 2)) in capsys.readouterr().out
    read = Reader(contract).read(json.dumps({"records": rows}).encode())
    assert [row[:3] for row in read[0][40:]] == [("late", 1, None), (None, None, 2)]
