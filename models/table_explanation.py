"""Why a row has its score: exact shares of the joint logit (Cheng et al. 2016, equation 3)."""

from __future__ import annotations

from typing import NamedTuple

from models.table_model import Rows, TableModel


class Explanation(NamedTuple):
    """Why a row has its logit, which is the sum of all shares.

    Attributes:
        logit: log odds of `classes_[1]`.
        bias: the share common to all rows.
        deep: the deep part's logit.
        wide: the weight of each feature and cross that is active in the row, by name.
    """

    logit: float
    bias: float
    deep: float
    wide: dict[str, float]


def explain(model: TableModel, rows: Rows, names: list[list[str]]) -> list[Explanation]:
    """The explanation of each row; `names` are those of its wide slots, see `TableEncoder.names`."""
    _, deep = model.score(rows)
    explanations = []
    for r, logit in enumerate(deep.tolist()):
        wide: dict[str, float] = {}
        if model.wide is not None:
            weights = model.wide.table[rows.wide[r], 2].tolist()
            for name, coordinate, weight in zip(names[r], rows.wide[r].tolist(), weights, strict=True):
                if coordinate:
                    wide[name] = wide.get(name, 0.0) + weight
        total = model.bias + logit + sum(wide.values())
        explanations.append(Explanation(total, model.bias, logit, wide))
    return explanations
