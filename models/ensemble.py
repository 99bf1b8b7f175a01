"""Kind `ensemble`: the parts of the joint model, trained without knowing of each other.

Cheng et al. 2016, section 3.3: "in an ensemble, individual models are trained separately without knowing
each other, and their predictions are combined only at inference time". Here log odds are averaged: the order
is that of their sum, and as each part is calibrated by itself, so is, nearly, their mean, while a sum would
count the base rate twice.
"""

from __future__ import annotations

from models.deep import NetPart
from models.settings import EnsembleSettings
from models.training import Learned, Part
from models.wide import LinearPart


class Ensemble(Learned):
    """Kind `ensemble`: `wide_deep` with a loss for each part."""

    kind = "ensemble"
    Settings = EnsembleSettings
    joint = False

    def build(self) -> dict[str, Part]:
        """The linear part and the network."""
        assert isinstance(self.settings, EnsembleSettings)
        return {
            "wide": LinearPart(self.features, self.settings.wide),
            "deep": NetPart(self.features, self.settings.deep, self.key),
        }
