"""Where the texts of JSON begin and end, without parsing it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

QUOTE, BACKSLASH = b'"\\'


def find_quotes(chunk: NDArray[np.uint8], *, is_escaped: bool) -> tuple[NDArray[np.bool_], bool]:
    """Find the quotes that no backslash precedes, and whether one precedes the next chunk.

    Parameters
    ----------
    is_escaped
        Whether the chunk's first byte has a backslash before it.
    """
    quotes = chunk == QUOTE
    backslashes = np.flatnonzero(chunk == BACKSLASH)
    if is_escaped:
        quotes[0] = False
        backslashes = backslashes[backslashes > 0]
    if not len(backslashes):
        return quotes, False
    # Of a run of them each second one is escaped; what follows an odd run is.
    is_first = np.diff(backslashes, prepend=-2) > 1
    firsts = np.flatnonzero(is_first)
    starts = backslashes[firsts]
    lengths = np.diff(firsts, append=len(backslashes))
    escaped = (starts + lengths)[lengths % 2 == 1]
    ends_escaped = bool(len(escaped)) and int(escaped[-1]) == len(chunk)
    quotes[escaped[escaped < len(chunk)]] = False
    return quotes, ends_escaped
