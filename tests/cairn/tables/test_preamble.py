from __future__ import annotations

import pytest

from cairn.tables.preamble import LINES, Preamble, find_preamble

TABLE = "price,b c,churned\n1.5,x,yes\n2.5,y,no\n"


@pytest.mark.parametrize(
    "above",
    [
        "Sales 2024\n",
        "\n\nSales 2024\n\n",
        "# exported by me, on Monday\n# at noon\n",
        "Report:,Sales\nPeriod:,2024\n",
        "Sales 2024,,\n,,\n",
        "-----------\r\n",
    ],
)
@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_lines_above_the_header_are_no_part_of_the_table(above: str, sign: str) -> None:
    text = (above + TABLE).replace(",", sign)
    size, note = find_preamble(text.encode(), "churned")
    assert text.encode()[size:].startswith(b"price")
    assert f"the header is line {above.count(chr(10)) + 1}; lines above it are no part" in note


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        "\n" + TABLE,
        "1.5,x,no\n" + TABLE,  # a row above the header, which is an error of its own
        '"two\nlines",churned\n1,yes\n',
        "a,b\n1,x\n",
        "churned\nyes\n",
        "title\n" * (LINES + 1) + TABLE,
        "",
    ],
)
def test_rows_and_headers_are_never_taken_for_a_title(text: str) -> None:
    assert find_preamble(text.encode(), "churned") == Preamble()


def test_the_target_may_be_named_as_the_contract_does() -> None:
    assert find_preamble(b"Title\na,b c (cm)\n1,2\n", "b_c").size == len("Title\n")
