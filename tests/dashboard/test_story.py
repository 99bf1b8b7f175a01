import pytest

from dashboard.story import speed, told


def served(at, day, impressions, arm="wide", **more):
    fields = {"arm": arm, "group": arm, "sim_day": day, "impressions": impressions}
    return {"event": "served", "wall_s": at, **fields, **more}


def test_the_speed_of_a_day_is_that_of_all_its_shards():
    events = [
        {"event": "started", "wall_s": 100.0, "sim_day": None},
        *(served(101.0, 0, 50), served(102.0, 0, 50)),
        *(served(103.0, 1, 100), served(104.0, 1, 200), served(104.5, 1, 300, "deep")),
        {"event": "learned", "wall_s": 105.0, "sim_day": 1},  # the night belongs to its day
        *(served(106.0, 2, 400), served(107.0, 2, 600, "deep")),
    ]
    assert speed(events) == pytest.approx([600 / 3, 1000 / 2])


def test_the_time_between_two_sessions_is_no_work():
    events = [
        *(served(1.0, 0, 10), served(2.0, 1, 10), served(3.0, 2, 10)),
        {"event": "resumed", "wall_s": 1000.0, "sim_day": 1},
        *(served(1001.0, 2, 10), served(1002.0, 3, 10)),
    ]
    assert speed(events) == pytest.approx([10, 10, 10])
    assert speed([]) == speed([{"event": "served"}]) == []


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            {"event": "learned", "arms": ["wide", "production"], "sim_day": -9, "accepted": None},
            "Night after day -9: Wide, Production trained, none published yet",
        ),
        (
            {"event": "learned", "arms": ["deep"], "sim_day": 2, "accepted": False, "reasons": ["AUC fell"]},
            "Night after day 2: Deep trained, refused: AUC fell",
        ),
        (
            {"event": "foreseen", "detectable_lift": 0.0412, "days": 7},
            "Foreseen: a lift of 4.1% will be found with 80% power in 7 days",
        ),
        (
            {"event": "dropped", "sim_day": 5, "log_days": [1, 2], "log_from_day": 3},
            "After day 5: the log before day 3 was dropped",
        ),
        ({"event": "served", "arm": "production", "group": "deep", "sim_day": 0},
         "Day 0: Production served the users of Deep"),
        ({"event": "done"}, "Done"),
        ({"event": "failed", "cause": "no disk"}, "Failed: no disk"),
    ],
)  # fmt: skip
def test_events_in_words(event, words):
    assert told(event) == words
