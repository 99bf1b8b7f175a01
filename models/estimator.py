"""`WideDeepClassifier`: Wide & Deep Learning (Cheng et al. 2016) for any table, as scikit-learn has it.

>>> import numpy as np, pandas as pd
>>> from models import WideDeepClassifier
>>> rng = np.random.default_rng(0)
>>> frame = pd.DataFrame({
...     "installed": rng.choice(["chess", "maps", "radio"], 5000),
...     "shown": rng.choice(["chess clock", "route planner"], 5000),
...     "age": rng.integers(18, 80, 5000),
... })
>>> fits = (frame["installed"] == "chess") & (frame["shown"] == "chess clock")
>>> acquired = rng.random(5000) < np.where(fits, 0.7, 0.1)
>>> model = WideDeepClassifier(
...     categorical=["installed", "shown"],
...     continuous=["age"],
...     crosses=[("installed", "shown")],
...     random_state=0,
... ).fit(frame, acquired)
>>> user = pd.DataFrame({"installed": ["chess", "maps"], "shown": "chess clock", "age": 30})
>>> model.predict(user)
array([ True, False])
>>> why = model.explain(user)[0]
>>> why.wide["AND(installed=chess, shown=chess clock)"] > 0.5
True
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from models import checkpoint
from models.table import Encoded, TableEncoder, TableSettings, read_columns
from models.table_explanation import Explanation, explain
from models.table_model import Rows, TableModel, WideSettings, sigmoid
from models.table_net import NetSettings
from models.table_parameters import check_parameters, choose_columns, read_labels
from models.table_training import Examples, Schedule, train

Array = NDArray[Any]


class WideDeepClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A binary classifier that joins a wide linear part with crosses and a deep part with embeddings.

    The wide part has a coordinate for each value, each quantile of a continuous column and each cross
    (section 3.1), trained by FTRL-Proximal with L1; the deep part embeds the values and adds the continuous
    columns, normalised by quantile (sections 3.2, 4.1), trained by AdaGrad. Both share one logistic loss,
    *summed* over a mini-batch (section 3.3). Values unseen or rarer than `min_count` add exactly 0 in the
    wide part; the deep part has one embedding for all of a column's.

    Where no column is named, numbers are continuous, columns of lists multivalent and all others categorical;
    columns of an array are called x0, x1, ... Missing values (None, NaN) are allowed everywhere. fp32 matrix
    products run as `models.matmul` chooses for the whole process.

    Args:
        categorical: names of columns of hashable values.
        continuous: names of columns of numbers.
        multivalent: names of columns whose cells are lists of values; the deep part takes their mean.
        crosses: tuples of two or more of these names (section 3.1, equation 1).
        kind: "wide_deep", "wide" or "deep".
        embedding_dim: dimensions of an embedding.
        hidden: units of the ReLU layers.
        min_count: rows from which on a value or a cross has an id.
        num_quantiles: quantiles of a continuous column in the deep part.
        wide_quantiles: the same in the wide part and in crosses.
        hash_buckets: if not None, crosses are hashed into this many buckets each instead.
        ftrl_alpha: FTRL's learning rate.
        ftrl_beta: FTRL's beta.
        l1: FTRL's L1 strength, for the summed loss.
        l2: FTRL's L2 strength, for the summed loss.
        learning_rate: AdaGrad's.
        initial_accumulator: AdaGrad's initial sum of squares.
        precision: "fp32" or "bf16", of the matrix products.
        epochs: passes over the rows, at most.
        batch_size: rows of a mini-batch.
        early_stopping: whether to hold out rows and to keep the state of the epoch that does best on them.
        validation_share: share of the rows held out.
        patience: epochs without a better log loss on them before training ends.
        device: torch's device of the deep part.
        progress: whether to show a progress bar.
        random_state: seed of initial weights, held-out rows and order.

    Attributes:
        classes_: the two labels, ascending.
        n_features_in_: number of columns of the frame.
        feature_names_in_: their names, where they are strings.
        n_iter_: epochs made.
        encoder_: the vocabularies, quantiles and crosses, `models.table.TableEncoder`.
        model_: the joint model, `models.table_model.TableModel`.
        settings_: which column is of which kind, `models.table.TableSettings`.
        history_: one dict per epoch: `loss`, mean log loss while training, and `validation_loss` or None.
    """

    def __init__(
        self,
        categorical: Sequence[str] | None = None,
        continuous: Sequence[str] | None = None,
        crosses: Sequence[Sequence[str]] | None = None,
        multivalent: Sequence[str] | None = None,
        kind: str = "wide_deep",
        *,
        embedding_dim: int = 32,
        hidden: Sequence[int] = (256, 128, 64),
        min_count: int = 1,
        num_quantiles: int = 100,
        wide_quantiles: int = 20,
        hash_buckets: int | None = None,
        ftrl_alpha: float = 0.1,
        ftrl_beta: float = 1.0,
        l1: float = 1.0,
        l2: float = 0.0,
        learning_rate: float = 0.005,
        initial_accumulator: float = 0.1,
        precision: str = "fp32",
        epochs: int = 10,
        batch_size: int = 256,
        early_stopping: bool = False,
        validation_share: float = 0.1,
        patience: int = 2,
        device: str = "cpu",
        progress: bool = False,
        random_state: Any = None,
    ) -> None:
        self.categorical = categorical
        self.continuous = continuous
        self.crosses = crosses
        self.multivalent = multivalent
        self.kind = kind
        self.embedding_dim = embedding_dim
        self.hidden = hidden
        self.min_count = min_count
        self.num_quantiles = num_quantiles
        self.wide_quantiles = wide_quantiles
        self.hash_buckets = hash_buckets
        self.ftrl_alpha = ftrl_alpha
        self.ftrl_beta = ftrl_beta
        self.l1 = l1
        self.l2 = l2
        self.learning_rate = learning_rate
        self.initial_accumulator = initial_accumulator
        self.precision = precision
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_share = validation_share
        self.patience = patience
        self.device = device
        self.progress = progress
        self.random_state = random_state

    def fit(self, frame: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learns from the rows of `frame`.

        Args:
            frame: a pandas data frame of N rows, or an array of numbers [N, columns].
            y: [N], labels of two classes.
            sample_weight: [N], weights of the rows' losses, >= 0; ones where None.

        Raises:
            ValueError: for parameters out of range, columns that are missing or of the wrong kind, or labels
                of other than two classes.
            FloatingPointError: if the loss is no longer finite.
        """
        check_parameters(self)
        frame = self._frame(frame, reset=True)
        self.classes_, labels = read_labels(y, len(frame))
        weights = _check_sample_weight(sample_weight, frame, dtype=np.float64, ensure_non_negative=True)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        self.settings_ = choose_columns(self, frame)
        columns = read_columns(frame, self.settings_)
        held_out = np.zeros(len(frame), bool)
        if self.early_stopping:
            count = math.ceil(self.validation_share * len(frame))
            if count >= len(frame):
                raise ValueError(f"frame: got {len(frame)} rows, at least {count + 1} are needed")
            held_out[rng.permutation(len(frame))[:count]] = True
        own = {name: values[~held_out] for name, values in columns.items()}
        self.encoder_ = TableEncoder(self.settings_).fit(own)
        self.model_ = self._new_model(labels[~held_out], weights[~held_out], rng)
        apart = {name: values[held_out] for name, values in columns.items()}
        parts = [
            Examples(self.model_.arrange(self.encoder_.encode(part)), labels[chosen], weights[chosen])
            for part, chosen in ((own, ~held_out), (apart, held_out))
        ]
        schedule = Schedule(self.epochs, self.batch_size, self.patience, self.progress)
        self.history_ = train(self.model_, parts[0], parts[1], schedule, rng)
        self.n_iter_ = len(self.history_)
        return self

    def decision_function(self, frame: Any) -> Array:
        """The log odds of `classes_[1]` for each row, float64[N]."""
        check_is_fitted(self)
        wide, deep = self.model_.score(self._rows(self._frame(frame, reset=False))[1])
        return wide + deep + self.model_.bias

    def predict_proba(self, frame: Any) -> Array:
        """The probabilities of the two classes, float64[N, 2]."""
        positive = sigmoid(self.decision_function(frame))
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, frame: Any) -> Array:
        """The more probable label of each row, [N]."""
        positive = self.decision_function(frame) > 0
        labels: Array = self.classes_[positive.astype(int)]
        return labels

    def explain(self, frame: Any) -> list[Explanation]:
        """The exact shares of each row's logit: wide features and crosses by name, deep part and bias."""
        check_is_fitted(self)
        columns, rows = self._rows(self._frame(frame, reset=False))
        return explain(self.model_, rows, self.encoder_.names(columns))

    def save(self, folder: str | Path) -> None:
        """Writes parameters, encoders, weights and optimiser state into `folder` (safetensors and JSON).

        Raises:
            NotFittedError: before `fit`.
            TypeError: if a column holds values that JSON cannot name.
        """
        check_is_fitted(self)
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        seed = int(self.random_state) if isinstance(self.random_state, Integral) else None
        parameters = _plain(self.get_params() | {"random_state": seed, "device": str(self.device)})
        arrays = {f"encoder.{name}": array for name, array in self.encoder_.to_state().items()}
        arrays |= {f"model.{name}": array for name, array in self.model_.to_state().items()}
        fitted = {"classes": self.classes_.tolist(), "n_features": self.n_features_in_}
        fitted |= {"names": list(getattr(self, "feature_names_in_", [])), "history": self.history_}
        checkpoint.write(
            path,
            type(self).__name__,
            arrays,
            form="trainable",
            parameters=parameters,
            columns=_plain(asdict(self.settings_)),
            class_dtype=self.classes_.dtype.str,
            **fitted,
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The classifier that `save` wrote; its scores are the same bit for bit.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if the files are of another format or kind, or do not fit together.
        """
        arrays, meta = checkpoint.read(Path(folder), cls.__name__, "trainable")
        try:
            return cls._restored(arrays, meta)
        except (LookupError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
            raise ValueError(f"{folder}: got no {cls.__name__} ({error!r}), a saved one is needed") from error

    @classmethod
    def _restored(cls, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Self:
        columns = {k: _tuples(v) if isinstance(v, list) else v for k, v in meta["columns"].items()}
        self = cls(**{k: _tuples(v) if k == "hidden" else v for k, v in meta["parameters"].items()})
        self.settings_ = TableSettings(**columns)
        self.classes_ = np.array(meta["classes"], dtype=meta["class_dtype"])
        self.n_features_in_, self.history_ = meta["n_features"], meta["history"]
        self.n_iter_ = len(self.history_)
        if meta["names"]:
            self.feature_names_in_ = np.array(meta["names"], dtype=object)
        part = {name.removeprefix("encoder."): a for name, a in arrays.items() if name.startswith("encoder.")}
        self.encoder_ = TableEncoder.from_state(self.settings_, part)
        half = np.array([0.0, 1.0])
        self.model_ = self._new_model(half, half + 1, np.random.default_rng(0))
        state = {n.removeprefix("model."): a for n, a in arrays.items() if n.startswith("model.")}
        for name, fresh in self.model_.to_state().items():  # compiled loops do not look at lengths
            if state[name].shape != fresh.shape or state[name].dtype != fresh.dtype:
                raise ValueError(f"{name}: got shape {state[name].shape}, {fresh.shape} is needed")
        self.model_.restore(state)
        return self

    def _frame(self, frame: Any, *, reset: bool) -> pd.DataFrame:
        """`frame` as a data frame, its column names checked against those of `fit`."""
        if not hasattr(frame, "columns"):
            array = validate_data(self, frame, reset=reset, dtype="numeric", ensure_all_finite=False)
            return pd.DataFrame(array, columns=[f"x{j}" for j in range(array.shape[1])])
        validate_data(self, frame, reset=reset, skip_check_array=True)
        if not len(frame) and reset:
            raise ValueError("frame: got 0 rows, at least 1 is needed")
        return frame

    def _new_model(self, labels: Array, weights: Array, rng: np.random.Generator) -> TableModel:
        """An untrained model for the encoder's columns; its bias is the log odds of the labels, smoothed."""
        wide = WideSettings(self.ftrl_alpha, self.ftrl_beta, self.l1, self.l2)
        deep = NetSettings(
            self.embedding_dim,
            tuple(self.hidden),
            self.learning_rate,
            self.initial_accumulator,
            self.precision,
            self.device,
        )
        return TableModel(
            self.encoder_.sizes,
            len(self.settings_.continuous),
            self.encoder_.wide_size,
            wide if self.kind != "deep" else None,
            deep if self.kind != "wide" else None,
            float((weights @ labels + 0.5) / (weights.sum() + 1)),
            self.learning_rate,
            rng,
        )

    def _rows(self, frame: pd.DataFrame) -> tuple[dict[str, Array], Rows]:
        columns = read_columns(frame, self.settings_)
        return columns, self.model_.arrange(self.encoder_.encode(columns))

    def encode(self, frame: Any) -> Encoded:
        """The rows of `frame` as ids and normalised values, see `models.table.Encoded`."""
        check_is_fitted(self)
        return self.encoder_.encode(read_columns(self._frame(frame, reset=False), self.settings_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def _plain(value: Any) -> Any:
    """A parameter as JSON can hold it: numpy's numbers and arrays, and pandas' indices, as Python's own."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _tuples(values: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(map(_tuples, values)) if isinstance(values, list) else values
