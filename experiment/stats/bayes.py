"""The Bayesian view of a lift: a Gaussian posterior, the chance to win, the expected loss.

The likelihood of the lift is normal around its estimate (the normal-normal model of Gelman et al. 2013,
section 2.5). Comparisons give the standard error of the difference over the control's rate, so that under
the flat prior the chance to win is 1 - p / 2 of the z test. The prior is flat unless one is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from experiment.stats.moments import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Posterior of a lift, any shape [...]; NaN where the lift or its standard error is undefined.

    Attributes:
        mean: of the lift, a fraction.
        sd: its standard deviation.
        chance_to_win: posterior probability of a lift above 0.
        expected_loss: mean lift forgone by choosing the treatment, E max(0, -lift); a fraction.
        expected_loss_control: mean lift forgone by staying with the control, E max(0, lift).
    """

    mean: Floats
    sd: Floats
    chance_to_win: Floats
    expected_loss: Floats
    expected_loss_control: Floats


def posterior(lift: ArrayLike, se: ArrayLike, *, prior: tuple[float, float] | None = None) -> Posterior:
    """The posterior of `lift` estimated with standard error `se`, both [...].

    `prior` is (mean, standard deviation) of a Gaussian prior of the lift; None is flat. Raises ValueError for
    a prior without a standard deviation above 0.
    """
    estimate, variance = np.asarray(lift, dtype=np.float64), np.asarray(se, dtype=np.float64) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.where(variance > 0, variance, np.nan)
        mean, sd = estimate, np.sqrt(variance)
        if prior is not None:
            centre, width = prior
            if not width > 0:
                raise ValueError(f"prior: got a standard deviation of {width}, numbers above 0 are allowed")
            precision = 1 / variance + 1 / width**2
            mean = (estimate / variance + centre / width**2) / precision
            sd = np.sqrt(1 / precision)
        mean = np.where(np.isnan(sd), np.nan, mean)
        z = mean / sd
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        return Posterior(
            mean=mean,
            sd=sd,
            chance_to_win=special.ndtr(z),
            expected_loss=np.maximum(sd * density - mean * special.ndtr(-z), 0),
            expected_loss_control=np.maximum(sd * density + mean * special.ndtr(z), 0),
        )
