"""sklearn:NAME: a table that scikit-learn ships, as CSV: its columns, then `target`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.sources import compat
from cairn.sources.base import Stream, UrlPart, Version


class ShippedTable(NamedTuple):
    """A table as scikit-learn ships it.

    Attributes
    ----------
    file
        Its file: rows of numbers, the class last.
    columns
        Names of all columns but the last, which scikit-learn has in its code.
    has_head
        Whether the file's first line says how many rows, columns and classes there are.
    """

    file: str
    columns: tuple[str, ...]
    has_head: bool


CELL_NUCLEUS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
TABLES = {
    "breast_cancer": ShippedTable(
        "breast_cancer.csv",
        (
            *(f"mean {name}" for name in CELL_NUCLEUS),
            *(f"{name} error" for name in CELL_NUCLEUS),
            *(f"worst {name}" for name in CELL_NUCLEUS),
        ),
        has_head=True,
    ),
    "digits": ShippedTable(
        "digits.csv.gz",
        tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
        has_head=False,
    ),
    "iris": ShippedTable(
        "iris.csv",
        ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
        has_head=True,
    ),
    "wine": ShippedTable(
        "wine_data.csv",
        (
            "alcohol",
            "malic_acid",
            "ash",
            "alcalinity_of_ash",
            "magnesium",
            "total_phenols",
            "flavanoids",
            "nonflavanoid_phenols",
            "proanthocyanins",
            "color_intensity",
            "hue",
            "od280/od315_of_diluted_wines",
            "proline",
        ),
        has_head=True,
    ),
}

PREFIX = "sklearn:"

FORM = "sklearn:NAME"
SECRETS: frozenset[UrlPart] = frozenset()
TAKES_QUERY = False


def matches(address: str) -> bool:
    """Tell whether an address names a table of scikit-learn."""
    return address.startswith(PREFIX)


@contextmanager
def open_stream(
    address: str,
    params: Raw,  # noqa: ARG001 - the protocol's
    version: Version | None,  # noqa: ARG001
    offset: int,  # noqa: ARG001
) -> Iterator[Stream]:
    """Open a table; raise a CairnError where scikit-learn ships no such one."""
    content = format_table(address.removeprefix(PREFIX)).encode()
    yield Stream(Version(size=len(content)), 0, iter((content,)))


def format_table(name: str) -> str:
    """Format a table that scikit-learn ships as CSV: what its loader's frame gives, byte for byte.

    A value is written as Python writes that float64, a class as an integer.
    """
    if name not in TABLES:
        raise CairnError(f"raw.source: got sklearn:{name}; allowed: sklearn:{{{','.join(TABLES)}}}")
    shipped = TABLES[name]
    lines = compat.read_shipped_file(shipped.file).splitlines()[shipped.has_head :]
    rows = (line.split(",") for line in lines)
    formatted = (",".join((*(repr(float(value)) for value in row[:-1]), row[-1])) for row in rows)
    return "\n".join((",".join((*shipped.columns, "target")), *formatted, ""))
