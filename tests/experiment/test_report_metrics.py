"""Secondary metrics and guardrails of a run's report."""

import numpy as np
import pytest

from experiment.loading import load
from experiment.reporting import metrics as report_metrics
from experiment.reporting.outcomes import Outcomes


def outcomes(rng, users, rate, shown=10, new=0.1):
    days = np.tile([1, 2], users)
    ids = np.repeat(np.arange(users), 2)
    impressions = np.full(2 * users, shown)
    window = {
        "user_id": ids,
        "day": days,
        "country": np.zeros(2 * users, np.int8),
        "impressions": impressions,
        "acquisitions": rng.binomial(impressions, rate),
        "expected": impressions * rate,
        "new_impressions": rng.binomial(impressions, new),
    }
    return Outcomes.of(window, {name: window[name] for name in ("user_id", "impressions", "acquisitions")})


@pytest.fixture
def config():
    return load("tiny", arms="wide,deep")


def test_secondary_metrics_are_per_user_and_adjusted_as_a_family(config):
    rng = np.random.default_rng(1)
    cells = {"wide": outcomes(rng, 4000, 0.05), "deep": outcomes(rng, 4000, 0.06)}
    rows = {row["metric"]: row for row in report_metrics.secondary(config, cells)}
    totals = {a: np.bincount(o.user_id, o.acquisitions) for a, o in cells.items()}
    per_user = rows["acquisitions_per_user"]
    assert per_user["value"] == pytest.approx(totals["deep"].mean())
    assert per_user["control_value"] == pytest.approx(totals["wide"].mean())
    share = rows["users_with_acquisition"]
    assert share["value"] == pytest.approx((totals["deep"] > 0).mean())
    assert per_user["p_value"] < 1e-6
    assert per_user["p_bh"] >= per_user["p_value"]
    low, high = per_user["ci"]
    assert low < per_user["lift"] < high


def test_a_guardrail_holds_without_harm_and_not_with_it(config):
    rng = np.random.default_rng(2)
    cells = {"wide": outcomes(rng, 4000, 0.05, new=0.2), "deep": outcomes(rng, 4000, 0.05, new=0.1)}
    rows = {row["metric"]: row for row in report_metrics.guardrails(config, cells)}
    assert rows["impressions_per_user"]["passed"] is None
    assert rows["new_release_share"]["passed"] is False
    assert rows["new_release_share"]["bound"] < -0.45
    same = {"wide": outcomes(rng, 4000, 0.05), "deep": outcomes(rng, 4000, 0.05)}
    held = {row["metric"]: row for row in report_metrics.guardrails(config, same)}
    assert held["new_release_share"]["passed"] is True


def test_scoring_work_is_counted_from_the_settings(config):
    hidden = 128 + 128 * 64 + 64 * 32 + 32
    assert report_metrics.scoring_work(config, "deep") == 100 * hidden
    assert report_metrics.scoring_work(config, "wide") == 100 * (1 + 5 + 48)
