from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.contract import Contract
from cairn.splits.labels import encode_labels
from tests import small


@settings(max_examples=50)
@given(contract=small.contracts(), data=st.data())
def test_codes_and_labels_go_round(contract: Contract, data: st.DataObject) -> None:
    classes = contract.target.classes
    labels = data.draw(st.lists(st.sampled_from(classes), min_size=1))
    codes = encode_labels(pd.Series(labels), contract)
    assert codes.dtype == np.int64
    assert [classes[code] for code in codes] == labels
