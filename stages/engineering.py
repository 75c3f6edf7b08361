"""Your own features: computed row by row, by the same code in training and in serving.

What `engineer` returns is added to the features that the columns give. Its argument holds those
features: a category is its index in the contract, and a missing value is NaN. It gets many rows at
once, but the result for a row may depend on that row only: no mean, no sort, no state, or training
and serving would differ. It also runs in the service, so it may import NumPy, and nothing that the
service's image lacks.

For the breast-cancer table, it could return two ratios:

>>> def engineer(columns):
...     area, radius = columns["mean_area"], columns["mean_radius"]
...     return {
...         "roundness": area / (np.pi * radius**2),
...         "growth": columns["worst_area"] / area,
...     }
>>> columns = {"mean_area": [1001.0], "mean_radius": [17.99], "worst_area": [2019.0]}
>>> ratios = engineer({name: np.float32(values) for name, values in columns.items()})
>>> {name: round(float(values[0]), 3) for name, values in ratios.items()}
{'roundness': 0.985, 'growth': 2.017}
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[np.float32]]


def engineer(columns: Columns) -> Columns:  # noqa: ARG001
    """Compute more features of n rows.

    Parameters
    ----------
    columns
        Feature name → n float32, NaN where a value is missing.

    Returns
    -------
    mapping
        New feature name → n numbers, in the order in which the model takes them. A number that is
        not finite, as after a division by zero, is missing. Empty: no more features.
    """
    return {}
