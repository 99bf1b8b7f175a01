"""`WideDeepClassifier`: scikit-learn's conventions, learning, explanation, saving, errors."""

import doctest
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from models import WideDeepClassifier

SMALL = {"hidden": (16, 8), "embedding_dim": 4, "random_state": 0}
COLUMNS = {
    "categorical": ["colour", "shape"],
    "continuous": ["age"],
    "multivalent": ["tags"],
    "crosses": [("colour", "shape"), ("tags", "shape"), ("age", "colour", "tags")],
}


def shop(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A made table: a colour goes with a shape (a cross), a dip in age, and tags that add up."""
    rng = np.random.default_rng(seed)
    colours, shapes = rng.integers(0, 6, rows), rng.integers(0, 5, rows)
    age = rng.normal(40, 12, rows).round(1)
    tags = [
        sorted(rng.choice(["new", "sale", "eco", "kids"], rng.integers(0, 4), replace=False))
        for _ in range(rows)
    ]
    z = np.where((colours + shapes) % 4 == 0, 1.8, -0.6) - 1.2 * (np.abs(age - 40) < 6)
    z += np.array([0.9 * ("sale" in t) - 0.7 * ("eco" in t) for t in tags])
    frame = pd.DataFrame(
        {
            "colour": np.array(["red", "green", "blue", "black", "white", "pink"])[colours],
            "shape": shapes,
            "age": np.where(rng.random(rows) < 0.05, np.nan, age),
            "tags": tags,
        }
    )
    frame.loc[::17, "colour"] = None
    return frame, np.where(rng.random(rows) < 1 / (1 + np.exp(-z)), "yes", "no")


@pytest.fixture(scope="module")
def fitted() -> WideDeepClassifier:
    frame, y = shop(3000)
    return WideDeepClassifier(**COLUMNS, **SMALL, epochs=5).fit(frame, y)


@parametrize_with_checks(
    [WideDeepClassifier(hidden=(16, 8), embedding_dim=4, random_state=0, epochs=30, batch_size=16)],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": "mini-batches depend on the number of rows",
    },
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_conventions(estimator: WideDeepClassifier, check: object) -> None:
    check(estimator)  # type: ignore[operator]


@pytest.mark.parametrize(("kind", "least"), [("wide_deep", 0.76), ("wide", 0.76), ("deep", 0.72)])
def test_learns(kind: str, least: float) -> None:
    frame, y = shop(6000)
    test, truth = shop(4000, 1)
    model = WideDeepClassifier(**COLUMNS, **SMALL, kind=kind, epochs=8, learning_rate=0.05)
    scores = model.fit(frame, y).predict_proba(test)
    assert roc_auc_score(truth == "yes", scores[:, 1]) > least
    dummies = [pd.get_dummies(t[["colour", "shape"]].astype(str)) for t in (frame, test)]
    linear = LogisticRegression().fit(dummies[0], y)
    plain = roc_auc_score(truth == "yes", linear.predict_proba(dummies[1])[:, 1])
    assert plain < least - 0.1
    assert log_loss(truth == "yes", scores[:, 1]) < 0.6


def test_predictions(fitted: WideDeepClassifier) -> None:
    frame, _ = shop(300, 2)
    probabilities = fitted.predict_proba(frame)
    assert probabilities.shape == (300, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert fitted.classes_.tolist() == ["no", "yes"]
    assert (fitted.predict(frame) == np.where(probabilities[:, 1] > 0.5, "yes", "no")).all()
    assert fitted.n_features_in_ == 4
    assert fitted.feature_names_in_.tolist() == ["colour", "shape", "age", "tags"]
    assert fitted.n_iter_ == 5
    assert fitted.history_[-1]["loss"] < fitted.history_[0]["loss"]


def test_a_row_scores_the_same_in_any_company(fitted: WideDeepClassifier) -> None:
    frame, _ = shop(700, 3)
    whole = fitted.decision_function(frame)
    order = np.random.default_rng(0).permutation(700)
    np.testing.assert_array_equal(fitted.decision_function(frame.iloc[order]), whole[order])
    np.testing.assert_array_equal(fitted.decision_function(frame.iloc[[5]]), whole[[5]])
    assert fitted.decision_function(frame.iloc[:0]).shape == (0,)


def test_inputs_are_unchanged_and_fits_repeat() -> None:
    frame, y = shop(400)
    before, labels = frame.copy(deep=True), y.copy()
    first = WideDeepClassifier(**COLUMNS, **SMALL, epochs=2).fit(frame, y)
    second = clone(first).fit(frame, y)
    pd.testing.assert_frame_equal(frame, before)
    np.testing.assert_array_equal(y, labels)
    np.testing.assert_array_equal(first.decision_function(frame), second.decision_function(frame))
    assert first.get_params() == second.get_params()


def test_unseen_missing_and_extreme_values(fitted: WideDeepClassifier) -> None:
    odd = pd.DataFrame(
        {
            "colour": ["violet", None, 3, "red"],
            "shape": [99, 1, -5, 2**40],
            "age": [np.inf, -np.inf, np.nan, 1e300],
            "tags": [["unknown"], [], None, ["sale", "sale", None]],
        }
    )
    assert np.isfinite(fitted.predict_proba(odd)).all()
    once = odd.iloc[[3]].assign(tags=[["sale"]])
    np.testing.assert_array_equal(fitted.decision_function(once), fitted.decision_function(odd.iloc[[3]]))


def test_explanations_sum_to_the_logit(fitted: WideDeepClassifier) -> None:
    frame, _ = shop(50, 4)
    logits = fitted.decision_function(frame)
    for row, explanation in zip(frame.itertuples(), fitted.explain(frame), strict=True):
        assert explanation.logit == pytest.approx(logits[row.Index], abs=1e-12)
        shares = [explanation.bias, explanation.deep, *explanation.wide.values()]
        assert explanation.logit == pytest.approx(sum(shares), abs=1e-12)
        assert (f"shape={row.shape}" in explanation.wide) is True
        if isinstance(row.colour, str):
            assert f"AND(colour={row.colour}, shape={row.shape})" in explanation.wide
        for tag in row.tags:
            assert f"AND(tags={tag}, shape={row.shape})" in explanation.wide
        assert ("age missing" in explanation.wide) == bool(np.isnan(row.age))
    assert any(value == 0 for e in fitted.explain(frame) for value in e.wide.values())  # L1


def test_hashed_crosses_are_explained_too() -> None:
    frame, y = shop(500)
    model = WideDeepClassifier(**COLUMNS, **SMALL, hash_buckets=64, epochs=2).fit(frame, y)
    explanation = model.explain(frame[1:2])[0]
    assert explanation.logit == pytest.approx(model.decision_function(frame[1:2])[0], abs=1e-12)
    assert any(name.startswith("AND(colour=") for name in explanation.wide)


@pytest.mark.parametrize("kind", ["wide_deep", "wide", "deep"])
def test_saved_and_loaded_scores_are_the_same(kind: str, tmp_path: Path) -> None:
    frame, y = shop(600)
    model = WideDeepClassifier(**COLUMNS, **SMALL, kind=kind, epochs=2, min_count=3).fit(frame, y == "yes")
    model.save(tmp_path / "model")
    loaded = WideDeepClassifier.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.decision_function(frame), model.decision_function(frame))
    assert loaded.predict(frame).dtype == bool
    assert loaded.explain(frame[:3]) == model.explain(frame[:3])
    assert loaded.get_params()["hidden"] == (16, 8)
    assert loaded.feature_names_in_.tolist() == model.feature_names_in_.tolist()
    assert {p.suffix for p in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}
    loaded.fit(frame, y)
    document = json.loads((tmp_path / "model" / "meta.json").read_text())
    (tmp_path / "model" / "meta.json").write_text(json.dumps(document | {"kind": "wide"}))
    with pytest.raises(ValueError, match="got kind wide, WideDeepClassifier is needed"):
        WideDeepClassifier.load(tmp_path / "model")


def test_parameters_of_numpy_and_torch_are_saved(tmp_path: Path) -> None:
    frame, y = shop(300)
    model = WideDeepClassifier(
        categorical=frame.columns[:1],
        continuous=np.array(["age"]),
        multivalent=["tags"],
        crosses=np.array([["colour", "tags"]]),
        embedding_dim=np.int64(4),
        hidden=np.array([8]),
        hash_buckets=np.int64(16),
        l1=np.float32(1),
        early_stopping=np.bool_(True),
        epochs=np.int32(2),
        device=torch.device("cpu"),
        random_state=np.int64(7),
    ).fit(frame, y)
    plain = WideDeepClassifier(
        ["colour"], ["age"], [("colour", "tags")], ["tags"],
        embedding_dim=4, hidden=[8], hash_buckets=16, l1=1, early_stopping=True, epochs=2, random_state=7,
    ).fit(frame, y)  # fmt: skip
    model.save(tmp_path)
    loaded = WideDeepClassifier.load(tmp_path)
    scores = plain.decision_function(frame)
    np.testing.assert_array_equal(model.decision_function(frame), scores)
    np.testing.assert_array_equal(loaded.decision_function(frame), scores)
    np.testing.assert_array_equal(loaded.fit(frame, y).decision_function(frame), scores)
    assert loaded.random_state == 7


def test_early_stopping_keeps_the_best_epoch() -> None:
    frame, y = shop(500)
    model = WideDeepClassifier(
        **COLUMNS,
        **SMALL,
        epochs=60,
        learning_rate=0.2,
        early_stopping=True,
        patience=3,
        validation_share=0.3,
    ).fit(frame, y)
    losses = [entry["validation_loss"] for entry in model.history_]
    assert model.n_iter_ == len(losses) < 60
    assert np.argmin(losses) == len(losses) - 1 - 3


def test_sample_weights() -> None:
    frame, y = shop(1500)
    weights = np.where(frame["shape"] == 0, 0.0, 1.0)
    flipped = np.where(weights == 0, np.where(y == "yes", "no", "yes"), y)
    fits = [
        WideDeepClassifier(**COLUMNS, **SMALL, epochs=2).fit(frame, labels, weights)
        for labels in (y, flipped)
    ]
    np.testing.assert_array_equal(*(model.decision_function(frame) for model in fits))


def test_columns_are_chosen_by_what_they_hold() -> None:
    frame, y = shop(300)
    frame["flag"] = frame["shape"] > 2
    model = WideDeepClassifier(**SMALL, epochs=1).fit(frame, y)
    whole = frame[frame["colour"].notna() & (frame["tags"].map(len) > 0)]
    names = list(model.explain(whole[:1])[0].wide)
    assert {"colour", "flag", "tags"} <= {name.split("=")[0] for name in names}
    assert any("< shape <=" in name for name in names)


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    frame, y = shop(100)
    WideDeepClassifier(**COLUMNS, **SMALL, epochs=1, progress=True).fit(frame, y)
    assert "training" in capsys.readouterr().out


def test_bf16_learns_alike() -> None:
    frame, y = shop(2000)
    test, truth = shop(1000, 1)
    losses = [
        log_loss(truth, WideDeepClassifier(**COLUMNS, **SMALL, precision=p).fit(frame, y).predict_proba(test))
        for p in ("fp32", "bf16")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.01)


def test_not_fitted(tmp_path: Path) -> None:
    frame, _ = shop(3)
    for call in (WideDeepClassifier().explain, WideDeepClassifier().predict_proba):
        with pytest.raises(NotFittedError):
            call(frame)
    with pytest.raises(NotFittedError):
        WideDeepClassifier().save(tmp_path)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kind": "tall"}, "kind: got 'tall', 'wide_deep' or 'wide' or 'deep' are allowed"),
        ({"precision": "fp8"}, "precision: got 'fp8', 'fp32' or 'bf16' are allowed"),
        ({"epochs": 0}, "epochs: got 0, an integer of at least 1 is allowed"),
        ({"num_quantiles": 1}, "num_quantiles: got 1, an integer of at least 2 is allowed"),
        ({"batch_size": 0.5}, "batch_size: got 0.5, an integer of at least 1 is allowed"),
        ({"hash_buckets": 0}, "hash_buckets: got 0, None or an integer above 0 is allowed"),
        ({"hidden": ()}, "hidden: got (), one or more integers of at least 1 are allowed"),
        ({"hidden": 64}, "hidden: got 64, one or more integers of at least 1 are allowed"),
        ({"hidden": None}, "hidden: got None, one or more integers of at least 1 are allowed"),
        ({"early_stopping": "no"}, "early_stopping: got 'no', True or False is allowed"),
        ({"progress": None}, "progress: got None, True or False is allowed"),
        ({"categorical": "colour"}, "categorical: got 'colour', None or a list of columns' names is allowed"),
        ({"continuous": 3}, "continuous: got 3, None or a list of columns' names is allowed"),
        ({"crosses": 5}, "crosses: got 5, None or a list of tuples of columns is allowed"),
        (
            {"crosses": [5], "continuous": None, "multivalent": None},
            "crosses: got 5, two or more of the columns ['colour', 'shape'] are allowed",
        ),
        (
            {"crosses": ["colour"], "continuous": None, "multivalent": None},
            "crosses: got 'colour', two or more of the columns ['colour', 'shape'] are allowed",
        ),
        ({"l1": -1}, "l1: got -1, a finite number of at least 0 is allowed"),
        ({"learning_rate": 0}, "learning_rate: got 0, a finite number above 0 is allowed"),
        ({"validation_share": 1}, "validation_share: got 1, a number between 0 and 1 is allowed"),
        (
            {"crosses": [("colour",)], "continuous": None, "multivalent": None},
            "crosses: got ('colour',), two or more of the columns ['colour', 'shape'] are allowed",
        ),
        ({"continuous": ["shape"]}, "shape: got the column 2 times, one kind for each is allowed"),
        (
            {"continuous": ["colour"], "categorical": [], "crosses": None},
            "colour: got values of type str, numbers are allowed",
        ),
        (
            {"categorical": ["size"], "crosses": None},
            "frame: got no column 'size', ['colour', 'shape', 'age', 'tags'] are there",
        ),
        (
            {"categorical": [], "continuous": [], "multivalent": [], "crosses": None},
            "frame: got no column, at least one is needed",
        ),
    ],
)
def test_bad_parameters(parameters: dict, message: str) -> None:
    frame, y = shop(20)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        WideDeepClassifier(**(COLUMNS | SMALL | parameters)).fit(frame, y)


def test_bad_data() -> None:
    frame, y = shop(20)
    model = WideDeepClassifier(**COLUMNS, **SMALL)
    with pytest.raises(ValueError, match=r"^y: got 3 class\(es\), 2 are needed"):
        model.fit(frame, np.arange(20) % 3)
    with pytest.raises(ValueError, match=r"^y: got 1 class\(es\), 2 are needed"):
        model.fit(frame, ["a"] * 20)
    with pytest.raises(ValueError, match=r"^y: got 19 labels, those of the frame's rows, 20, are needed$"):
        model.fit(frame, y[:19])
    with pytest.raises(ValueError, match=r"^age: got no number, at least one that is not NaN is needed$"):
        model.fit(frame.assign(age=np.nan), y)
    with pytest.raises(ValueError, match=r"^frame: got 2 rows, at least 3 are needed$"):
        clone(model).set_params(early_stopping=True, validation_share=0.99).fit(frame[:2], ["a", "b"])
    with pytest.raises(ValueError, match="feature names"):
        model.fit(frame, y).predict(frame.rename(columns={"age": "years"}))


def test_the_example_runs() -> None:
    module = importlib.import_module("models.estimator")
    assert doctest.testmod(module) == doctest.TestResults(failed=0, attempted=11)


def test_importing_the_package_stays_cheap() -> None:
    code = "import sys, models; assert 'torch' not in sys.modules and 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match=r"^module 'models' has no attribute 'Tall'$"):
        __import__("models").Tall  # noqa: B018


def test_lists_are_known_by_the_first_cell_that_says_something() -> None:
    frame, y = shop(200)
    plain = WideDeepClassifier(**SMALL).fit(frame, y).predict_proba(frame)
    arrays = frame.assign(tags=[np.array(tags, object) for tags in frame["tags"]])
    np.testing.assert_array_equal(WideDeepClassifier(**SMALL).fit(arrays, y).predict_proba(arrays), plain)
    gap = frame.assign(tags=[np.nan, *frame["tags"][1:]])
    assert np.isfinite(WideDeepClassifier(**SMALL).fit(gap, y).predict_proba(gap)).all()
