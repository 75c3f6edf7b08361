from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from cairn import parquet
from cairn.errors import CairnError
from cairn.paths import CONTRACT, PROCESSED, TEST, TRAIN
from cairn.tables import contract_file
from stages import features
from tests.small import FOUR, PARAMS


def stage(rows: int, groups: int, **keys: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run the stage on so many rows of data/processed, in so many groups."""
    PROCESSED.parent.mkdir(parents=True, exist_ok=True)
    contract_file.write(FOUR, CONTRACT)
    table = pa.table(
        {
            "n": pa.array(range(rows), pa.float32()),
            "i": pa.array([None, *range(1, rows)], pa.float32()),
            "b": pa.array([None, *[True] * (rows - 1)]),
            "c": pa.array([None, *["y"] * (rows - 1)], pa.string()),
            "t": pa.array([row % 5 > 0 for row in range(rows)]).cast(pa.int64()),
        }
    )
    with parquet.Writer(PROCESSED) as writer:
        for index in range(groups):
            writer.write(table.slice(index * rows // groups, rows // groups))
    own = {**PARAMS["features"], **keys}
    Path("params.yaml").write_text(yaml.safe_dump({**PARAMS, "features": own}))
    features.main()
    return pd.read_parquet(TRAIN), pd.read_parquet(TEST)


@pytest.mark.parametrize("groups", [1, 4, 20])
def test_the_stage_writes_the_features_and_codes_of_every_row(
    groups: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train, test = stage(100, groups)
    for part in train, test:
        assert list(part) == ["n", "i", "b", "c", "t"]
        assert [str(dtype) for dtype in part.dtypes] == [*["float32"] * 4, "int64"]
        assert part["n"].is_monotonic_increasing
    assert test["t"].value_counts().to_dict() == {1: 16, 0: 4}
    both = pd.concat([train, test]).sort_values("n", ignore_index=True)
    assert both["n"].tolist() == list(range(100))
    assert both["t"].tolist() == [int(row % 5 > 0) for row in range(100)]
    assert both.loc[0, ["i", "b", "c"]].isna().all()
    assert (both.loc[1:, ["b", "c"]] == 1).all(axis=None)
    before = TRAIN.read_bytes(), TEST.read_bytes()
    features.main()
    assert (TRAIN.read_bytes(), TEST.read_bytes()) == before
    assert set(stage(100, groups, seed=1)[1]["n"]) != set(test["n"])


def twice(rows: int) -> pa.Table:
    """Rows of which every third has copies, some of another class, in any order."""
    random = np.random.default_rng(3)
    own = np.where(np.arange(rows) % 3, np.arange(rows), np.arange(rows) % 7 * 1000)
    own = random.permutation(own)
    return pa.table(
        {
            "n": pa.array(own, pa.float32()),
            "i": pa.array([None] * rows, pa.float32()),
            "b": pa.array([None] * rows, pa.bool_()),
            "c": pa.array(["x"] * rows),
            "t": pa.array((own % 5 > 0) ^ (random.random(rows) < 0.05)).cast(pa.int64()),
        }
    )


def test_no_test_row_has_a_copy_among_the_training_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    stage(10, 1)
    table = twice(300)
    with parquet.Writer(PROCESSED) as writer:
        for start in range(0, 300, 75):
            writer.write(table[start : start + 75])
    features.main()
    train, test = pd.read_parquet(TRAIN), pd.read_parquet(TEST)
    assert len(train) + len(test) == 300
    assert not set(train["n"]) & set(test["n"])
    assert test["n"].duplicated().any()
    labels = table["t"].to_pandas()
    assert (test["t"].value_counts() - labels.value_counts() * 0.2).abs().max() <= 1
    assert "of 300 rows repeat the features of another row" in capsys.readouterr().out


def test_the_parts_of_a_split_are_not_written_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CairnError, match="class 1 has no row"):
        stage(1, 1)
    assert not TRAIN.exists()
    assert not TEST.exists()
