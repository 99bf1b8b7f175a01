"""Quality of scores on a log: what is missing is None, and a thin log stops nothing."""

import math
from types import SimpleNamespace

import numpy as np

from experiment import quality
from models.evaluation import examined_gauc


def test_a_few_acquisitions_at_the_top_alone_leave_a_figure():
    """They say that nobody looks down: the decay that is learned would round to an examination of 0."""
    labels = np.zeros((50, 100), np.int8)
    labels[:3, 0] = 1
    scores = np.random.default_rng(1).normal(-4, 1, (50, 100)).astype(np.float32)
    theta = quality._examination(SimpleNamespace(labels=labels, scores=scores))
    assert theta[0] == 1
    assert theta.min() == quality.LEAST_SEEN
    assert 0 <= examined_gauc(labels, scores, theta) <= 1


def test_examination_is_learned_from_the_log():
    rng = np.random.default_rng(2)
    scores = rng.normal(-1, 1, (40_000, 10)).astype(np.float32)
    theta = np.exp(-0.2 * np.arange(10))
    labels = (rng.random(scores.shape) < theta / (1 + np.exp(-scores))).astype(np.int8)
    np.testing.assert_allclose(
        quality._examination(SimpleNamespace(labels=labels, scores=scores)), theta, atol=0.02
    )


def test_without_requests_nothing_is_known():
    none = np.zeros((0, 0), np.int8)
    requests = SimpleNamespace(user_id=np.zeros(0, np.int64), apps=none.astype(np.int32))
    log = SimpleNamespace(labels=none, scores=none.astype(np.float32), requests=requests)
    found = quality.assess(none.astype(float), log, SimpleNamespace(probabilities=none.astype(float)))
    assert (found.impressions, found.auc, found.gauc_examined, found.log_loss) == (0, None, None, None)
    assert math.isfinite(found.entropy)
