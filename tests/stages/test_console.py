from __future__ import annotations

import pytest

from stages import console
from stages.console import CairnError


def test_an_error_of_the_user_is_one_line_and_no_traceback() -> None:
    def main() -> None:
        raise CairnError("raw.source: no file")

    with pytest.raises(SystemExit) as ended:
        console.run(main)
    assert ended.value.code == "error: raw.source: no file"


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        console.run(main)
