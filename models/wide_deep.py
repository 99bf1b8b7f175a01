"""The kinds made of a wide and a deep part (Cheng et al. 2016, figure 1 and section 3.3)."""

from __future__ import annotations

from models.deep import NetPart
from models.settings import DeepSettings, WideDeepSettings, WideSettings
from models.training import Learned, Part
from models.wide import LinearPart


class Wide(Learned):
    """Kind `wide`: the linear model alone, with rich crosses by default."""

    kind = "wide"
    Settings = WideSettings

    def build(self) -> dict[str, Part]:
        """The linear part."""
        assert isinstance(self.settings, WideSettings)
        return {"wide": LinearPart(self.features, self.settings.wide)}


class Deep(Learned):
    """Kind `deep`: the network alone."""

    kind = "deep"
    Settings = DeepSettings

    def build(self) -> dict[str, Part]:
        """The network."""
        assert isinstance(self.settings, DeepSettings)
        return {"deep": NetPart(self.features, self.settings.deep, self.key)}


class WideDeep(Learned):
    """Kind `wide_deep`: both parts under one logistic loss, each with its own optimiser (joint training)."""

    kind = "wide_deep"
    Settings = WideDeepSettings

    def build(self) -> dict[str, Part]:
        """The linear part and the network."""
        assert isinstance(self.settings, WideDeepSettings)
        return {
            "wide": LinearPart(self.features, self.settings.wide),
            "deep": NetPart(self.features, self.settings.deep, self.key),
        }
