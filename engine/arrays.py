"""Names the array types that the engine passes around."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
#: Row numbers of the catalog.
Rows = npt.NDArray[np.int32]
#: Ids of songs or members.
Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


def no_rows() -> Rows:
    return np.empty(0, np.int32)


def no_floats() -> Floats:
    return np.empty(0, np.float32)


def places_by_code(codes: npt.NDArray[np.integer[Any]]) -> dict[int, npt.NDArray[np.intp]]:
    """{code: its places, ascending}"""
    if not len(codes):
        return {}
    order = np.argsort(codes, kind="stable")
    distinct, starts = np.unique(codes[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(order, starts[1:]), strict=True))
