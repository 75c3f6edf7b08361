"""features: make the model's numbers of each row, and split the rows.

The service imports this module for `features` and `matrix`, so what its image has not is
imported only where the stage runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages import console, contract
from stages.console import CairnError, say
from stages.contract import Contract
from stages.paths import PROCESSED, TERMS, TEST, TRAIN

if TYPE_CHECKING:
    import pandas as pd


def main() -> None:
    """Turn data/processed into data/features."""
    import pandas as pd  # noqa: PLC0415

    from stages import params  # noqa: PLC0415

    block = params.load().features
    terms = contract.read(TERMS)
    rows = pd.read_parquet(PROCESSED)
    say(f"features: making {len(terms.columns)} features of {len(rows):,} rows")
    made = pd.DataFrame(features({str(name): rows[name] for name in rows}, terms))
    made[terms.target.name] = codes(rows[terms.target.name], terms)
    train, test = split(made, terms.target.name, block.test_size, block.seed)
    TRAIN.parent.mkdir(parents=True, exist_ok=True)
    for part, path in (train, TRAIN), (test, TEST):
        part.to_parquet(path, index=False)
        say(f"features: {len(part):,} rows in {path}")


def features(columns: Mapping[str, Any], terms: Contract) -> dict[str, NDArray[np.float32]]:
    """The model's input of each row, from that row alone.

    Parameters
    ----------
    columns
        Column name → n values; a DataFrame is such a mapping. A missing value is None, NaN or NA.
    terms
        Says which columns there are, in which order, and their categories.

    Returns
    -------
    dict
        Feature name → n float32: numbers as they are, booleans 0 and 1, categories as their
        place in the contract, NaN where a value is missing.
    """
    values = [columns[name] for name in terms.names]
    coded = encode(values, terms)
    return {
        name: np.asarray(column, dtype=np.float32)
        for name, column in zip(terms.names, coded, strict=True)
    }


def matrix(rows: Sequence[Sequence[Any]], terms: Contract) -> NDArray[np.float32]:
    """The features of rows, n × k, from their values in the order of the contract's columns.

    All at once: column by column it would take the service longer than the model.
    """
    if terms.codes:
        rows = list(zip(*encode(list(zip(*rows, strict=True)), terms), strict=True))
    return np.array(rows, dtype=np.float32)


def encode(columns: Sequence[Any], terms: Contract) -> list[Any]:
    """The columns, in order, with the code of each category in its place."""
    return [
        [terms.codes[place].get(label, np.nan) for label in column]
        if place in terms.codes
        else column
        for place, column in enumerate(columns)
    ]


def codes(labels: pd.Series[Any], terms: Contract) -> pd.Series[Any]:
    """Each label as its place in the contract's classes."""
    places = {label: place for place, label in enumerate(terms.target.classes)}
    return labels.map(places).astype("int64")


def split(
    rows: pd.DataFrame, target: str, test_size: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to train and to test on, each class in both in proportion.

    Raises
    ------
    CairnError
        Where the rows of some class do not go round.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    classes = rows[target]
    try:
        train, test = train_test_split(
            rows, test_size=test_size, random_state=seed, stratify=classes
        )
    except ValueError as error:
        raise _unsplittable(classes, test_size, str(error)) from None
    for name, part in ("train", train), ("test", test):
        if part[target].nunique() < classes.nunique():
            raise _unsplittable(classes, test_size, f"a class has no row to {name} on")
    return train, test


def _unsplittable(classes: pd.Series[Any], test_size: float, reason: str) -> CairnError:
    """Why the rows do not go round: the rarest classes, by their code, and what to do."""
    counts = classes.value_counts(ascending=True).head(3)
    rare = ", ".join(f"class {code} has {count}" for code, count in counts.items())
    return CairnError(
        f"features.test_size: {test_size} of {len(classes):,} rows cannot be split by class "
        f"({rare}): {reason}; add rows, leave the class out, or change the share"
    )


if __name__ == "__main__":
    console.run(main)
