"""What a warm start saves (Cheng et al. 2016, section 4.2), measured on a run's own pre-period log.

The night before day 0: warm, yesterday's model goes on over the new day alone; cold, a fresh model is trained
on the last 1, 2, 4, ... days until its log loss on day 0 is as low. Trained on all days in their order, a
cold model *is* the warm one, so the last of these always does. Times are CPU seconds of a sample of users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiment.assignment import PRODUCTION

if TYPE_CHECKING:
    from experiment.config import Config
    from experiment.folder.rundir import RunFolder
    from simulator.schema import Log

USERS = 8_000
"""Users of the pre-period whose log is trained on; it keeps the measurement to some CPU seconds."""


def warm_start(
    folder: RunFolder, kind: str = "wide_deep", users: int = USERS
) -> dict[str, dict[str, float | None]]:
    """`warm_start_ratio` and `warm_start_days` of the first arm of that kind; nothing where there is none."""
    config = folder.config
    arm = next((name for name, one in config.arms.items() if one.kind == kind), None)
    if arm is None:
        return {}
    days = sampled_days(folder, users)
    learned = len(days) - 1
    seconds, goal = night(config, days, arm, learned - 1)
    count, took = 0, 0.0
    for count in sorted({min(2**power, learned) for power in range(learned.bit_length() + 1)}):
        took, loss = night(config, days[-1 - count :], arm, 0)
        if loss <= goal:
            break
    return {arm: {"warm_start_ratio": took / max(seconds, 1e-9), "warm_start_days": float(count)}}


def sampled_days(folder: RunFolder, users: int) -> list[Log]:
    """The pre-period's days, of about so many users; the last is held out."""
    from experiment.daily import day_log

    config = folder.config
    bucket_share = sum(config.shares().values()) + config.production.share
    every = max(1, round(config.users.population * bucket_share / users))
    logs = []
    for day in config.pre_days():
        log = day_log(folder.path, config, (PRODUCTION,), day)
        logs.append(log.take(log.requests.user_id % every == 0))
    return logs


def night(config: Config, days: list[Log], arm: str, before: int) -> tuple[float, float]:
    """CPU seconds of training on the days after the first `before`, and the log loss on the last day.

    Args:
        config: of the run. days: all but the last are trained on, in their order. arm: whose settings.
        before: days whose training does not count, as it was done on earlier nights.
    """
    from experiment import plan
    from experiment.machine import Clock
    from experiment.worlds import world_of
    from models import evaluation, registry

    world = world_of(config)
    settings = config.arms[arm]
    key = plan.training_key(config, -(10**6))
    ranker: Any = registry.create(settings.kind, world.apps, world.cardinalities, settings.settings, key)
    clock = Clock()
    for place, log in enumerate(days[:-1]):
        if place == before:
            clock = Clock()
        if len(log):
            ranker.fit(log, plan.training_key(config, 1 - len(days) + place))
    seconds = clock.cpu()
    held_out = days[-1]
    return seconds, float(evaluation.log_loss(held_out.labels, ranker.publish().score(held_out.requests)))
