"""Draw a plot in whichever process is free: Matplotlib is imported there."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cairn.contract import Contract
from cairn.evaluation.records import Evaluation


def draw(
    points: Mapping[str, pd.DataFrame], evaluation: Evaluation, contract: Contract, name: str
) -> bytes:
    """Draw a plot as `plots.draw` does."""
    # Half a second, which a stage need not pay whose processes draw.
    from cairn.evaluation import plots  # noqa: PLC0415

    return plots.draw(points, evaluation, contract, name)
