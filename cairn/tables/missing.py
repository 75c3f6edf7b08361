"""Which texts stand for a missing value, and which blanks are no part of a text: the one rule.

The first survey of a table, the check of its rows and the kept model for people all use it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from cairn.contract import MISSING_TEXTS, Category, Column, Contract


@dataclass(frozen=True)
class MissingRule:
    """How the texts of a column are cleaned.

    Attributes
    ----------
    texts
        Those that stand for a missing value.
    strip
        Whether blanks around a text are no part of it.
    categories
        The column's categories: a text that is one stays as it is, whatever else it looks like.
    """

    texts: tuple[str, ...]
    strip: bool = True
    categories: tuple[Category, ...] = ()

    def clean(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Strip blanks around texts, and replace those that stand for no value by null.

        Values of other types stay as they are.
        """
        if isinstance(values.type, pa.JsonType):
            return self._clean_json(values)
        if not pa.types.is_string(values.type):
            return values
        return _drop(self.strip_blanks(values), self._absent)

    def _clean_json(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Replace JSON texts that stand for no value by null."""
        absent = [json.dumps(text, ensure_ascii=False) for text in self._absent]
        texts = _drop(values.cast(pa.string()), absent)  # Arrow has no if_else of JSON
        array = pa.ExtensionArray.from_storage(values.type, texts.combine_chunks())
        return pa.chunked_array([array])

    def strip_blanks(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Strip blanks around texts, except around a category that has some itself."""
        if not self.strip:
            return values
        padded = [text for text in self._known if text != text.strip()]
        plain = pc.utf8_trim_whitespace(values)
        if not padded:
            return plain
        return pc.if_else(pc.is_in(values, pa.array(padded, pa.string())), values, plain)

    def clean_text(self, text: str) -> str | None:
        """Clean one text as `clean` does; None where it stands for no value."""
        plain = text.strip() if self.strip and text not in self._known else text
        return None if plain in self._absent else plain

    @cached_property
    def _known(self) -> frozenset[str]:
        """The categories that are texts."""
        return frozenset(text for text in self.categories if isinstance(text, str))

    @cached_property
    def _absent(self) -> frozenset[str]:
        """The texts that stand for a missing value, and are no category."""
        return frozenset(self.texts) - self._known


def _drop(texts: pa.ChunkedArray, absent: Iterable[str]) -> pa.ChunkedArray:
    """Replace these texts by null."""
    is_absent = pc.is_in(texts, pa.array(sorted(absent), pa.string()), skip_nulls=True)
    return pc.if_else(is_absent, None, texts) if pc.any(is_absent).as_py() else texts


def list_missing_texts(listed: Sequence[str] | None, *, is_csv: bool = True) -> tuple[str, ...]:
    """List the texts that stand for a missing value in any column of a table.

    Parameters
    ----------
    listed
        Those that params.yaml or the contract lists; None: the usual ones, and only in CSV, for
        other formats have a way to write a missing value.
    """
    if listed is not None:
        return tuple(listed)
    return MISSING_TEXTS if is_csv else ()


def rule_of(column: Column, contract: Contract) -> MissingRule:
    """Get the rule for the texts of a column, as CSV has them."""
    texts = (*list_missing_texts(contract.missing), *column.markers)
    return MissingRule(texts, contract.strip, column.categories)
