import pytest

from dashboard import glance, words
from dashboard.reading import read


def test_each_lift_with_its_days_and_the_best_auc(shared):
    run = read(shared.done)
    *lifts, auc = glance.tiles(run, run.report)
    assert [tile.name for tile in lifts] == ["Deep over Wide", "Wide & Deep over Wide"]
    for tile, c in zip(lifts, run.report["comparisons"], strict=False):
        assert tile.value == words.percent(c["lift"])
        assert tile.beside == words.interval(c["ci"])
        assert tile.days[-1] == pytest.approx(c["lift"])
        assert len(tile.days) == 3
    best = max(run.report["arms"].values(), key=lambda arm: arm["offline_auc"])
    assert auc.value == f"{best['offline_auc']:.3f}"


def test_before_the_end_the_interval_is_the_always_valid_one(maker):
    from dashboard import results

    run = read(maker.run(finished=2, requests=False))
    found = results.document(run)
    assert glance.tiles(run, found)[0].beside == words.interval(
        found["comparisons"][0]["always_valid_look_ci"]
    )


def test_the_latency_is_that_of_the_fastest_way(maker):
    path = maker.run(requests=False)
    rows = [
        {"name": name, "batch": 100, "threads": 2, "p50_ms": 1.0, "p95_ms": p95}
        for name, p95 in (("slow", 9.0), ("fast", 2.5))
    ]
    maker.put(path, "latency/serving.json", {"rows": rows})
    run = read(path)
    tile = glance.tiles(run, run.report)[-1]
    assert (tile.name, tile.value, tile.beside) == ("Latency, p95", "2.50 ms", "fast, 100 x 2")


def test_a_fallen_guardrail_is_part_of_the_verdict(shared):
    run = read(shared.done)
    assert not words.broken_guardrails(run.report)
    row = {"metric": "new_release_share", "control": "wide", "control_value": 0.2, "margin": 0.25}
    guardrails = [
        {**row, "arm": "deep", "value": 0.1, "passed": False},
        {**row, "arm": "wide_deep", "value": 0.16, "passed": False},  # not excluded, but not beyond either
        {**row, "arm": "fm", "value": None, "passed": False},
    ]
    found = words.verdict(run, {**run.report, "guardrails": guardrails})
    assert found.evidence[-1] == (
        "But a guardrail is not cleared: New releases shown may have fallen by more than its 25%: "
        "Deep −50.0%."
    )


def test_runs_are_counted_by_state(shared):
    runs = [read(path) for path in (shared.done, shared.torn, shared.failed, shared.early)]
    assert words.census(runs) == "4 runs: 1 done, 2 failed, 1 damaged"
    assert words.census([read(shared.done)]) == "1 run: 1 done"
