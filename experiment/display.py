"""A run's progress on the screen: bars on a terminal, a line per simulated day elsewhere. Never on stdout."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from experiment.assignment import PRODUCTION
from experiment.words import arm_name, big, duration

if TYPE_CHECKING:
    from experiment.progress import Display, Progress
    from experiment.stats.forecast import Forecast

PHASES = {
    "starting": "building the world",
    "serving": "serving",
    "training": "training overnight",
    "foreseeing": "ready for day 1",
    "analysing": "analysing",
}

OTHER_CODE = "Note: other code than this has made some of the run's days; equal runs need equal code."


def choose(console: Console, *, lines: bool) -> Display | None:
    """Bars on a terminal; else lines, if they are wanted."""
    if console.is_terminal:
        return Bars(console)
    return Lines(console) if lines else None


class Bars:
    """One bar per arm over the days of the experiment, and one for the pre-period."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._spinner = Spinner("dots")
        self._noted = False

    def show(self, progress: Progress) -> None:
        """Redraws at the display's own pace."""
        if progress.other_code and not self._noted:
            self._live.console.print(OTHER_CODE, style="yellow", highlight=False)
            self._noted = True
        self._live.update(self.render(progress))

    def render(self, progress: Progress) -> RenderableType:
        """The picture of the moment."""
        self._spinner.update(text=_headline(progress))
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(width=max(10, min(40, self._console.width - 44)))
        table.add_column(justify="right", no_wrap=True)
        rows = [("Pre-period", progress.pre_share, PRODUCTION)]
        rows += [(arm_name(arm), progress.group_share(arm), arm) for arm in progress.config.arms]
        for name, share, arm in rows:
            shown = progress.impressions[arm]
            rate = f"{progress.acquisitions[arm] / shown:6.2%} acquired" if shown else ""
            bar = ProgressBar(total=1.0, completed=share, complete_style="cyan", finished_style="cyan")
            table.add_row(f"  {name}", bar, Text(rate, style="dim"))
        parts: list[RenderableType] = [self._spinner, table, Text(f"  {_footer(progress)}", style="dim")]
        if progress.forecast is not None:
            parts.append(Text(f"  {power_line(progress.forecast)}", style="dim"))
        return Group(*parts)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


class Lines:
    """One plain line when a day begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._day: int | None = None
        self._noted = False

    def show(self, progress: Progress) -> None:
        """Prints a line if the day is another than last time."""
        if progress.other_code and not self._noted:
            self._console.print(OTHER_CODE, highlight=False, soft_wrap=True)
            self._noted = True
        if progress.phase == "foreseeing" and progress.forecast is not None:
            self._console.print(power_line(progress.forecast), highlight=False, soft_wrap=True)
        if progress.phase == "serving" and progress.sim_day != self._day:
            self._day = progress.sim_day
            self._console.print(f"{_day(progress)} · {_footer(progress)}", highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def power_line(forecast: Forecast) -> str:
    """What the experiment will be able to see, in a line."""
    return (
        f"Power: {forecast.days} days of {forecast.users:,} users per arm find a lift of "
        f"±{forecast.detectable_lift:.1%} with 80% power (±{forecast.detectable_lift_cuped:.1%} with CUPED); "
        f"design effect {forecast.design_effect:.1f}"
    )


def _headline(progress: Progress) -> Text:
    return Text.assemble((_day(progress), "bold"), f" · {PHASES[progress.phase]}")


def _day(progress: Progress) -> str:
    if progress.sim_day <= 0:
        number = progress.sim_day - progress.days[0] + 1
        return f"pre-period, day {number} of {progress.config.experiment.pre_days}"
    return f"day {progress.sim_day} of {progress.config.experiment.days}"


def _footer(progress: Progress) -> str:
    parts = [f"{progress.share:.0%}", f"{big(progress.impressions.total())} impressions"]
    if progress.impressions:
        parts.append(f"{big(progress.rate)}/s")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return " · ".join(parts)
