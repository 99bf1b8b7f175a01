"""What an analysis found: immutable records, with None for what is undefined."""

from __future__ import annotations

from dataclasses import dataclass

Interval = tuple[float, float]
Day = int | str


@dataclass(frozen=True, slots=True)
class Arm:
    """What one arm's users did.

    Attributes:
        users: all users of the arm, those without impressions too.
        impressions: their total.
        acquisitions: their total.
        rate: acquisitions per impression; None without impressions.
        rate_se: its user-clustered standard error; None without impressions or with fewer than two users.
    """

    users: int
    impressions: int
    acquisitions: int
    rate: float | None
    rate_se: float | None


@dataclass(frozen=True, slots=True)
class Cuped:
    """The comparison adjusted for the pre-period; every field is None where theta is undefined.

    That is: an arm without pre-period impressions or with fewer than two users, or a pre-period rate
    without variance.

    Attributes:
        theta: slope of the window's linearised value on the pre-period's.
        difference: adjusted difference of the rates.
        difference_se: its standard error.
        lift: over the control's adjusted rate; None also where that or the control's rate is not above 0.
        lift_ci: by the delta method on the logarithm; None also where a rate, adjusted or not,
            is not above 0.
        p_value: two-sided; None without variance.
        variance_ratio: (adjusted difference_se / difference_se)^2; None without variance.
        control_rate: the control's adjusted rate.
        treatment_rate: the treatment's.
    """

    theta: float | None
    difference: float | None
    difference_se: float | None
    lift: float | None
    lift_ci: Interval | None
    p_value: float | None
    variance_ratio: float | None
    control_rate: float | None
    treatment_rate: float | None


@dataclass(frozen=True, slots=True)
class Bayes:
    """Gaussian posterior of the lift under a flat prior; see `bayes.Posterior`.

    Attributes:
        lift: posterior mean.
        lift_sd: posterior standard deviation.
        chance_to_win: probability of a lift above 0.
        expected_loss: mean lift forgone by choosing the treatment.
        prior: always "flat" here.
    """

    lift: float
    lift_sd: float
    chance_to_win: float
    expected_loss: float
    prior: str = "flat"


@dataclass(frozen=True, slots=True)
class Method:
    """How the numbers of a comparison were made.

    Attributes:
        name: of the test and of the standard error.
        n_control: users of the control.
        n_treatment: users of the treatment.
        df: Welch's degrees of freedom; None for z, or without variance.
        q: two-sided quantile used in the intervals; None without variance (Welch) only.
        alpha: 1 - alpha is the intervals' coverage.
        planned_users: N* of the always-valid figures; None where a planned variance was given instead.
    """

    name: str
    n_control: int
    n_treatment: int
    df: float | None
    q: float | None
    alpha: float
    planned_users: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against the control on a ratio metric.

    Attributes:
        arm: name of the treatment.
        control: name of the control.
        difference: R_t - R_c; None without impressions in either arm.
        difference_se: standard error of the difference; None also with fewer than two users in an arm.
        p_value: two-sided, of the difference; None also without variance.
        lift: R_t / R_c - 1; None where R_c is 0 or undefined.
        lift_ci: by the delta method on the logarithm; None unless status is ok.
        lift_fieller_ci: Fieller's; None unless status is ok, and where unbounded.
        p_holm: p_value adjusted within the family; None where p_value is, or where no family was formed.
        always_valid_p: of the difference, running over the days where there are days; None as p_value, and
            with fewer than `sequential.FEWEST` users in an arm at every one of several looks.
        always_valid_ci: of the difference, running intersection; None as p_value, and where it is empty.
        always_valid_lift_ci: of the lift, the same boundary on the log ratio; None unless status is ok.
        always_valid_look_ci, always_valid_look_lift_ci: of the last look alone, which is the size of the
            effect until then; a running intersection is an interval of one lift that never changes.
        always_valid_p_holm: always_valid_p adjusted within the family, valid at any look; None as p_holm.
        cuped: None without pre-period columns.
        status: one of `ratio.STATUSES`; "ok" when everything is defined.
        bayes: None unless status is ok.
        method: how the numbers were made.
    """

    arm: str
    control: str
    difference: float | None
    difference_se: float | None
    p_value: float | None
    lift: float | None
    lift_ci: Interval | None
    lift_fieller_ci: Interval | None
    p_holm: float | None
    always_valid_p: float | None
    always_valid_ci: Interval | None
    always_valid_lift_ci: Interval | None
    always_valid_look_ci: Interval | None
    always_valid_look_lift_ci: Interval | None
    always_valid_p_holm: float | None
    cuped: Cuped | None
    status: str
    bayes: Bayes | None
    method: Method


@dataclass(frozen=True, slots=True)
class Look:
    """A comparison as it stood after one day, over all users and rows seen until then.

    Attributes:
        day: the day's number or ISO date.
        arm: name of the treatment.
        control: name of the control.
        difference: R_t - R_c so far; None without impressions in either arm.
        difference_se: its standard error; None also with fewer than two users in an arm.
        always_valid_p: running minimum; None before the first look with variance and `sequential.FEWEST`
            users in each arm.
        always_valid_ci: of the difference, running intersection; None as the p, and where it is empty.
        lift: so far; None where undefined.
        always_valid_lift_ci: of the lift, running intersection; None as always_valid_ci.
        always_valid_look_ci, always_valid_look_lift_ci: of this look alone.
    """

    day: Day
    arm: str
    control: str
    difference: float | None
    difference_se: float | None
    always_valid_p: float | None
    always_valid_ci: Interval | None
    lift: float | None
    always_valid_lift_ci: Interval | None
    always_valid_look_ci: Interval | None
    always_valid_look_lift_ci: Interval | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Planned squared standard errors V* that fix the boundary before the first look.

    Attributes:
        difference: of the difference of rates.
        log_lift: of the logarithm of their ratio.
    """

    difference: float
    log_lift: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """A family of comparisons on one metric.

    Attributes:
        arms: by name, in the order given.
        comparisons: one per pair, in order; Holm over them.
        days: for each day and pair the look; empty without days.
    """

    arms: dict[str, Arm]
    comparisons: tuple[Comparison, ...]
    days: tuple[Look, ...]
