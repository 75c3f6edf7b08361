"""Where scikit-learn keeps the tables that it ships, for want of a public way to their files.

Its public loaders import all of scikit-learn and pandas: a second that the stage raw can spare.
`tests/cairn/sources/test_scikit_learn.py` compares what is read here with those loaders.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

from cairn.errors import CairnError

# The versions whose source was read for this module.
SCIKIT_LEARN = ">=1.9,<1.10"


def read_shipped_file(name: str) -> str:
    """Read a file of scikit-learn's `datasets/data`, without importing scikit-learn.

    The way by `importlib.resources` would import it: the files are in a package inside it.

    Raises
    ------
    CairnError
        Where scikit-learn is not installed.
    """
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise CairnError("raw.source: scikit-learn is not installed; run `make install`")
    path = Path(spec.submodule_search_locations[0], "datasets", "data", name)
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
