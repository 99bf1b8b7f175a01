"""Quantile normalisation of continuous features (Cheng et al. 2016, section 4.1).

"Continuous real-valued features are normalized to [0, 1] by mapping a feature value x to its cumulative
distribution function P(X <= x), divided into n_q quantiles. The normalized value is (i-1)/(n_q-1) for values
in the i-th quantiles."
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


class QuantileNormalizer:
    """Maps x to (i-1)/(n_q-1), where i in 1 .. n_q is the quantile of the fitted data in which x lies.

    x is in quantile i iff b_{i-1} < x <= b_i, with b_0 = -inf and b_{n_q} = +inf; among tied boundaries the
    lowest index holds. Hence a constant feature maps to 0, values below the fitted ones to 0, values above to
    1, and infinities are ordinary numbers at the ends of the order. NaN is missing: `fit` leaves it out and
    `transform` maps it to `missing`.

    Attributes:
        boundaries: [n_q - 1], b_k = the smallest fitted v with P(X <= v) >= k/n_q, exactly; int64 when the
            fitted values are integers, else float64.

    Args:
        num_quantiles: n_q, at least 2.
        missing: the normalised value of NaN; by default 0.5, the middle of the range.

    Raises:
        ValueError: if `num_quantiles` is less than 2 or `missing` is outside of [0, 1].
    """

    boundaries: NDArray[Any]

    def __init__(self, num_quantiles: int = 100, *, missing: float = 0.5) -> None:
        if operator.index(num_quantiles) < 2:
            raise ValueError(f"num_quantiles: got {num_quantiles}, at least 2 is allowed")
        if not 0 <= missing <= 1:
            raise ValueError(f"missing: got {missing}, 0 to 1 is allowed")
        self.num_quantiles = operator.index(num_quantiles)
        self.missing = float(missing)

    def fit(self, x: ArrayLike) -> Self:
        """Takes the boundaries from `x` (numbers of any shape).

        Raises:
            ValueError: if `x` holds no number but NaN.
        """
        ordered = _numbers(x).ravel()
        if ordered.dtype.kind == "f":
            ordered = ordered[~np.isnan(ordered)]
        if not len(ordered):
            raise ValueError("x: got no number, at least one that is not NaN is needed")
        ordered = np.sort(ordered)
        # The smallest v with P(X <= v) >= k/n_q is the ceil(k n / n_q)-th smallest value: whole numbers only.
        k = np.arange(1, self.num_quantiles, dtype=np.int64)
        self.boundaries = ordered[-(-k * len(ordered) // self.num_quantiles) - 1]
        return self

    def transform(self, x: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """The normalised values of `x`, in [0, 1], of its shape and of `dtype`.

        Raises:
            ValueError: before `fit`.
        """
        if not hasattr(self, "boundaries"):
            raise ValueError("boundaries: got none, call fit before transform")
        numbers = _numbers(x)
        values = (np.arange(self.num_quantiles) / (self.num_quantiles - 1)).astype(dtype)
        normal = values[np.searchsorted(self.boundaries, numbers, side="left")]
        if numbers.dtype.kind == "f":
            normal = np.where(np.isnan(numbers), values.dtype.type(self.missing), normal)
        return normal

    def fit_transform(self, x: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """`fit(x)`, then `transform(x)`."""
        return self.fit(x).transform(x, dtype)

    def to_state(self) -> dict[str, NDArray[Any]]:
        """Everything as numpy arrays: `boundaries`, `missing`.

        Raises:
            ValueError: before `fit`.
        """
        if not hasattr(self, "boundaries"):
            raise ValueError("boundaries: got none, call fit before to_state")
        return {"boundaries": self.boundaries.copy(), "missing": np.array([self.missing])}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """The normaliser that `to_state` described."""
        normalizer = cls(len(state["boundaries"]) + 1, missing=float(state["missing"][0]))
        normalizer.boundaries = np.array(state["boundaries"])
        return normalizer


def _numbers(x: ArrayLike) -> NDArray[Any]:
    """`x` as int64 where that is exact, else as float64; None becomes NaN."""
    array = np.asarray(x)
    if array.dtype.kind in "bi" or (array.dtype.kind == "u" and array.dtype.itemsize < 8):
        return array.astype(np.int64)
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"x: got values of type {array.dtype}, numbers are allowed") from None
