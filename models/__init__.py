"""The learning system: features, rankers, optimisers and their published form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.estimator import WideDeepClassifier

__all__ = ["WideDeepClassifier"]


def __getattr__(name: str) -> Any:
    """Imports the estimator, and torch with it, when it is asked for."""
    if name == "WideDeepClassifier":
        from models.estimator import WideDeepClassifier

        return WideDeepClassifier
    raise AttributeError(f"module 'models' has no attribute {name!r}")
