"""Your own features: a function of one row, which training and serving share.

What `engineer` returns is added to the features that the columns give. It is given those, so a
category is its place in the contract and a missing value is NaN. It sees many rows at once, but
each row's result may depend on that row alone: no mean, no sort, no state, or training and serving
will differ. It runs in the service as well: NumPy, and nothing that its image lacks.

For the breast-cancer table, two ratios could be:

>>> def engineer(columns):
...     area, radius = columns["mean_area"], columns["mean_radius"]
...     return {
...         "roundness": area / (np.pi * radius**2),
...         "growth": columns["worst_area"] / area,
...     }
>>> columns = {"mean_area": [1001.0], "mean_radius": [17.99], "worst_area": [2019.0]}
>>> made = engineer({name: np.float32(values) for name, values in columns.items()})
>>> {name: round(float(values[0]), 3) for name, values in made.items()}
{'roundness': 0.985, 'growth': 2.017}
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[np.float32]]


def engineer(columns: Columns) -> Columns:  # noqa: ARG001
    """More features of n rows.

    Parameters
    ----------
    columns
        Feature name → n float32, NaN where a value is missing.

    Returns
    -------
    mapping
        New feature name → n numbers, in the order in which the model takes them; one that is not
        finite, as after a division by zero, is missing. Empty: no more features.
    """
    return {}
