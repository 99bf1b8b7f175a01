"""A study as it is written down: one TOML file says what is swept, over which seeds, and what is claimed.

    title = "Drift"
    question = "How fast may rules go stale before memorising them stops paying?"
    preset = "quick"
    seeds = 5
    arms = ["wide", "deep", "wide_deep"]

    [set]                                  # for all cells
    "experiment.days" = 7

    [[sweep]]                              # one or two knobs ...
    knob = "world.drift"
    values = [0.0, 0.1, 0.2, 0.4]

    [[variant]]                            # ... or named variants, held against the first of them
    name = "default"
    [[variant]]
    name = "no drift"
    set = { "world.drift" = 0.0 }

    [[claim]]                              # counted over the seeds, see `Claim`
    name = "Offline AUC: Deep below Wide"
    measure = "expected_auc"
    ascending = ["deep", "wide"]

A knob may stand for several settings (`paths`). Nothing here runs anything.
"""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from experiment.config import Config
from experiment.config_errors import close, describe
from experiment.errors import BadInput
from experiment.settings import Settings
from experiment.study.measures import MEASURES

Words = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Scalar = bool | int | float | str | list[Any]
Overrides = dict[str, Any]
"""Dotted path to value, as for `--set`."""

ACCEPTED_SHARE = 0.85
"""An order counts as reproduced when its mean's interval excludes 0 and it holds in so many of the seeds."""


class Sweep(Settings):
    """A knob and its values."""

    knob: Words
    """A setting's path, or the name of what `paths` stand for."""
    values: Annotated[list[Scalar], Field(min_length=1, max_length=100)]
    """In the order of the axis."""
    paths: list[Words] = Field(default_factory=list)
    """The settings that take the value; without them the one that the knob names."""
    label: str = ""
    """Of the axis; without it the knob's name."""


class Variant(Settings):
    """A named way to set things."""

    name: Words
    label: str = ""
    """What it is, in a few words."""
    set: Overrides = Field(default_factory=dict)


class Claim(Settings):
    """Something that holds in a seed or does not: an order of two arms, or one arm's figure and a bound."""

    name: Words
    section: str = ""
    """Of the page that it stands on."""
    paper: str = ""
    """The paper's figure, in words."""
    measure: Words
    """A measure of `experiment.study.measures`, counted on."""
    observed: str | None = None
    """The measure as an experiment sees it, shown beside."""
    ascending: list[str] = Field(default_factory=list)
    """Two arms: the first's figure is below the second's. An order."""
    arm: str | None = None
    """One arm, with `above` or `below`."""
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        bounds = [bound for bound in (self.above, self.below) if bound is not None]
        order = len(self.ascending) == 2 and self.arm is None and not bounds
        bound = not self.ascending and self.arm is not None and len(bounds) == 1
        if not (order or bound):
            raise ValueError(
                "got neither an order nor a bound, allowed: ascending = [A, B], or arm and bound"
            )
        for name in (self.measure, self.observed):
            if name is not None and name not in MEASURES:
                raise ValueError(f"got the measure {name!r}, allowed: {', '.join(MEASURES)}")
        return self

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that it is about."""
        return (self.arm,) if self.arm is not None else tuple(self.ascending)


class Study(Settings):
    """A whole study, as its file states it."""

    title: Words
    question: str = ""
    """What it answers."""
    preset: str = "quick"
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 5
    """How many, from `first_seed` on."""
    first_seed: Annotated[int, Field(ge=0, lt=2**62)] = 0
    arms: list[str] = Field(default_factory=list)
    """Without them those of the preset."""
    measures: list[str] = Field(default_factory=lambda: ["expected_auc", "expected_lift", "observed_lift"])
    """Shown in the table, of every arm; all measures are kept."""
    figure: str = "expected_lift"
    """The measure that is drawn."""
    extras: list[str] = Field(default_factory=list)
    """Further measurements of each cell that cost time: `warm_start`, `offpolicy`."""
    spread: Literal["", "variants", "arms"] = ""
    """Luck that is measured: of an arm's lift over the variants of a seed, or among arms that differ in their
    log alone; see `experiment.study.spread`."""
    set: Overrides = Field(default_factory=dict)
    """Of every cell."""
    sweep: Annotated[list[Sweep], Field(max_length=2)] = Field(default_factory=list)
    variant: list[Variant] = Field(default_factory=list)
    claim: list[Claim] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.sweep and self.variant:
            raise ValueError("got both sweep and variant, allowed: one of them")
        for name in (*self.measures, self.figure):
            if name not in MEASURES:
                raise ValueError(f"got the measure {name!r}, allowed: {', '.join(MEASURES)}")
        for extra in self.extras:
            if extra not in EXTRAS:
                raise ValueError(f"got the extra {extra!r}, allowed: {', '.join(EXTRAS)}")
        names = [point.name for point in self.points()]
        if len(set(names)) < len(names):
            raise ValueError(f"got a variant twice among {', '.join(names)}, allowed: different ones")
        return self

    @property
    def knobs(self) -> list[str]:
        """Names of what is swept."""
        return [sweep.knob for sweep in self.sweep]

    def points(self) -> list[Point]:
        """The variants, in the order in which they are shown; one without overrides where nothing varies."""
        if self.variant:
            return [
                Point(one.name, one.label or one.name, (one.name,), dict(one.set)) for one in self.variant
            ]
        if not self.sweep:
            return [Point("as it is", self.title, (), {})]
        points = []
        for values in itertools.product(*(sweep.values for sweep in self.sweep)):
            overrides: Overrides = {}
            for sweep, value in zip(self.sweep, values, strict=True):
                overrides |= dict.fromkeys(sweep.paths or [sweep.knob], value)
            name = ", ".join(_plain(value) for value in values)
            points.append(Point(name, name, values, overrides))
        return points

    def seed_list(self) -> list[int]:
        """The seeds."""
        return list(range(self.first_seed, self.first_seed + self.seeds))


EXTRAS = ("warm_start", "offpolicy")


@dataclass(frozen=True, slots=True)
class Point:
    """A variant.

    Attributes:
        name: tells it from the others. label: of the table's row.
        values: of the knobs, or the name of the variant. overrides: of the configuration.
    """

    name: str
    label: str
    values: tuple[Any, ...]
    overrides: Overrides


@dataclass(frozen=True, slots=True)
class Cell:
    """A variant with a seed: one run."""

    point: Point
    seed: int
    config: Config
    extras: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Names its folder; two cells of one name have the same configuration."""
        plain = "".join(sign if sign.isalnum() or sign in ".-" else "_" for sign in self.point.name)[:40]
        return f"seed{self.seed}-{plain}-{self.config.config_hash()}"


def shipped() -> dict[str, Study]:
    """The studies that come with the program, by name."""
    folder = resources.files("experiment.studies")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    return {Path(name).stem: parse(folder.joinpath(name).read_text("utf-8"), name) for name in files}


def find(name: str) -> tuple[str, Study]:
    """The study of that name, or in the file of that path, and its name. Raises BadInput."""
    if name.endswith(".toml") or "/" in name:
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"study: got {name}, allowed: a readable TOML file ({error})") from error
        short, ours = Path(name).stem, shipped()
        study = parse(text, name)
        if short in ours and study != ours[short]:
            raise BadInput(
                f"study: got {name}, but {short} comes with the program, allowed: another file name"
            )
        return short, study
    known = shipped()
    if name not in known:
        raise BadInput(
            f"study: got {name!r}, allowed: a TOML file or one of {', '.join(known)}{close(name, known)}"
        )
    return name, known[name]


def parse(text: str, name: str = "study") -> Study:
    """The study that a TOML text states. Raises BadInput with a line per problem."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number of too many digits
        raise BadInput(f"{name}: got no TOML ({error}), allowed: TOML") from error
    return validated(data, name)


def validated(data: Mapping[str, Any], name: str) -> Study:
    """The study of plain data. Raises BadInput with a line per problem."""
    try:
        return Study.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise BadInput("\n".join(f"{name}: {line}" for line in describe(error, Study))) from error


def changed(
    study: Study,
    name: str,
    *,
    preset: str | None = None,
    seeds: int | None = None,
    first_seed: int | None = None,
    arms: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Study:
    """The study with what the command line says instead. Raises BadInput."""
    data = study.model_dump(mode="json")
    given = {"preset": preset, "seeds": seeds, "first_seed": first_seed, "arms": arms and list(arms)}
    data |= {key: value for key, value in given.items() if value is not None}
    for path, _ in _leaves(overrides or {}):
        if all(_touches(path, point.overrides) for point in study.points()):
            raise BadInput(f"set: got {path}, which the study {name} varies, allowed: what it leaves alone")
    data["set"] |= overrides or {}
    return validated(data, name)


def reference(study: Study, points: Sequence[Point]) -> Point | None:
    """What the others of `points` are held against: the first variant, or the values that change nothing.

    None where nothing varies but luck, or no value of a sweep is the preset's own.
    """
    if study.spread or len(points) < 2:
        return None
    if study.variant:
        return points[0]
    try:
        own = cells(study.model_copy(update={"seeds": 1, "sweep": []}))[0].config
    except BadInput:  # it is a configuration with the swept values alone
        return None
    alike = (one.point for one in cells(study.model_copy(update={"seeds": 1}), points) if one.config == own)
    return next(alike, None)


def cells(study: Study, points: Sequence[Point] | None = None) -> list[Cell]:
    """Every variant with every seed, checked; seed by seed, so that a study that stops has whole seeds.

    Args:
        study: to be taken apart. points: of the study; all of them by default.

    Raises:
        BadInput: a variant is no configuration; the message names it.
    """
    from experiment.loading import load

    found = []
    for seed in study.seed_list():
        for point in study.points() if points is None else points:
            settings = {"run.workers": 1, **study.set, **point.overrides}
            if "seed" in settings:
                got = settings["seed"]
                raise BadInput(f"seed: got {got!r} among the settings, allowed: seeds and first_seed")
            try:
                config = load(
                    study.preset, settings, seed=seed, arms=study.arms or None, rankers=_own(study, settings)
                )
            except BadInput as error:
                raise BadInput(
                    "\n".join(f"{point.name}: {line}" for line in str(error).split("\n"))
                ) from error
            for claim in study.claim:
                for arm in claim.arms:
                    if arm not in config.arms:
                        raise BadInput(
                            f"claim {claim.name!r}: got the arm {arm!r}, allowed: {', '.join(config.arms)}"
                        )
            found.append(Cell(point, seed, config, tuple(study.extras)))
    return found


def _own(study: Study, settings: Mapping[str, Any]) -> dict[str, str]:
    """The study's arms that are rankers of one's own: name to the `module:Class` of `arms.NAME.kind`."""
    kinds = {f"arms.{arm}.kind": arm for arm in study.arms}
    return {
        kinds[path]: value
        for path, value in _leaves(settings)
        if path in kinds and isinstance(value, str) and ":" in value
    }


def _leaves(overrides: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of each setting, those within tables too."""
    for path, value in overrides.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{path}.")
        else:
            yield f"{above}{path}", value


def _touches(path: str, overrides: Mapping[str, Any]) -> bool:
    """Whether one of the overrides is of that value, or of a table around it."""
    return any(path == one or path.startswith(f"{one}.") for one, _ in _leaves(overrides))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
