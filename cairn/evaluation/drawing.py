"""The drawing of a picture in whatever process is free: Matplotlib is imported in that one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cairn.contract import Contract


def draw(
    points: Mapping[str, pd.DataFrame], evaluation: Mapping[str, Any], contract: Contract, name: str
) -> bytes:
    """Draw a picture as `plots.draw` does."""
    # Half a second, which a stage need not pay whose processes draw.
    from cairn.evaluation import plots  # noqa: PLC0415

    return plots.draw(points, evaluation, contract, name)
