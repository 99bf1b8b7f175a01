"""ONNX export: the graph's scores equal the classifier's (extra `onnx`)."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models import WideDeepClassifier, onnx_export

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("kind", ["wide_deep", "wide", "deep"])
def test_scores_are_equal(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "few": rng.integers(0, 9, 800).astype(str),
            "many": rng.integers(0, 700, 800),
            "number": rng.normal(size=800),
            "tags": [list(rng.choice(list("abc"), rng.integers(0, 3), replace=False)) for _ in range(800)],
            "words": [list(rng.integers(0, 600, 2)) for _ in range(800)],
        }
    )
    y = rng.random(800) < 0.2 + 0.6 * (frame["few"] > "4")
    model = WideDeepClassifier(
        ["few", "many"],
        ["number"],
        [("few", "tags")],
        ["tags", "words"],
        kind,
        hidden=(16, 8),
        embedding_dim=4,
        random_state=0,
        epochs=2,
    ).fit(frame, y)
    onnx_export.export(model, tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    for rows in (frame, frame[:1], frame.assign(tags=[[]] * 800, few="unseen")):
        logits, probabilities = session.run(["logit", "probability"], onnx_export.inputs(model, rows))
        np.testing.assert_allclose(logits, model.decision_function(rows), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(probabilities, model.predict_proba(rows)[:, 1], rtol=1e-5, atol=1e-6)
