"""One run's configuration: checked whole, frozen, hashed, written as TOML; `experiment.loading` makes it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from experiment import assignment, toml
from experiment.config_errors import describe
from experiment.errors import BadInput
from experiment.rankers import arm_order, complete
from experiment.settings import (
    ArmSettings,
    ExperimentSettings,
    FaultSettings,
    GateSettings,
    ProductionSettings,
    RunSettings,
    Settings,
)
from simulator.settings import RetrievalSettings, UserSettings, WorldSettings

DEFAULT_PRESET = "quick"

LATER_SETTINGS = (("experiment", "training_seed"),)
"""Settings that came after runs had been made: at their defaults they are not in the hash."""

ArmName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Config(Settings):
    """All that determines a run; two runs of equal configuration give equal results."""

    preset: str = DEFAULT_PRESET
    """The preset that this began as."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Draws the world, the users and every coin."""
    world: WorldSettings = WorldSettings()
    users: UserSettings = UserSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    production: ProductionSettings = ProductionSettings()
    experiment: ExperimentSettings = ExperimentSettings()
    arms: Annotated[dict[ArmName, ArmSettings], Field(min_length=1, max_length=64)]
    """The arms by name, in canonical order."""
    gate: GateSettings = GateSettings()
    faults: FaultSettings = FaultSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="before")
    @classmethod
    def _named_after_their_kind(cls, data: Any) -> Any:
        """An arm that states no kind is of the kind that it is named after."""
        if isinstance(data, dict) and isinstance(data.get("arms"), dict):
            arms = {k: {"kind": k, **v} if isinstance(v, dict) else v for k, v in data["arms"].items()}
            return {**data, "arms": arms}
        return data

    @field_validator("arms")
    @classmethod
    def _in_order(cls, arms: dict[str, ArmSettings]) -> dict[str, ArmSettings]:
        problems: list[str] = []
        ordered: dict[str, ArmSettings] = {}
        for name in arm_order(arms):
            settings = complete(arms[name].kind, arms[name].settings, f"{name}.", problems)
            ordered[name] = arms[name].model_copy(update={"settings": settings})
        if assignment.PRODUCTION in arms:
            problems.append(f"{assignment.PRODUCTION}: got an arm of this name, allowed: any other name")
        _raise(problems)
        return ordered

    @field_validator("production")
    @classmethod
    def _production_complete(cls, production: ProductionSettings) -> ProductionSettings:
        problems: list[str] = []
        settings = complete("wide", production.settings, "", problems)
        _raise(problems)
        return production.model_copy(update={"settings": settings})

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        experiment, problems = self.experiment, []
        if experiment.control not in self.arms:
            problems.append(
                f"experiment.control: got {experiment.control!r}, allowed: {', '.join(self.arms)}"
            )
        if self.faults.arm is not None and self.faults.arm not in self.arms:
            problems.append(f"faults.arm: got {self.faults.arm!r}, allowed: {', '.join(self.arms)}")
        if self.production.bootstrap_days >= experiment.pre_days:
            problems.append(
                f"production.bootstrap_days: got {self.production.bootstrap_days}, allowed: less than "
                f"experiment.pre_days = {experiment.pre_days}"
            )
        if experiment.shown > self.retrieval.candidates:
            problems.append(
                f"experiment.shown: got {experiment.shown}, allowed: at most retrieval.candidates = "
                f"{self.retrieval.candidates}"
            )
        if self.run.keep_log_days and not experiment.warm_start:
            problems.append(
                f"run.keep_log_days: got {self.run.keep_log_days}, allowed: 0 with experiment.warm_start = "
                "false, which trains on every day"
            )
        first = next(iter(self.arms.values()))
        if experiment.identical_models and any(
            (a.kind, a.settings) != (first.kind, first.settings) for a in self.arms.values()
        ):
            problems.append(
                "experiment.identical_models: got arms that differ, allowed: one kind and settings"
            )
        if experiment.identical_models and experiment.training != "all":
            problems.append(
                f"experiment.training: got {experiment.training!r}, allowed: 'all' with "
                "experiment.identical_models"
            )
        if 0 < experiment.slots < len(self.arms):
            problems.append(
                f"experiment.slots: got {experiment.slots}, allowed: 0, or at least one per arm, "
                f"{len(self.arms)}"
            )
        try:
            layer = assignment.layer_of(self)
        except ValueError as error:
            arm, _, reason = str(error).partition(": ")
            problems.append(f"{self._share_path(arm)}: {reason}")
        else:
            least = 1.0 / self.users.population
            problems += [
                f"{self._share_path(arm)}: got a share without a single user, allowed: at least {least:g}"
                for arm in layer.arms
                if layer.size(arm) == 0
            ]
        _raise(problems)
        return self

    def _share_path(self, arm: str) -> str:
        if arm == assignment.PRODUCTION:
            return "production.share"
        return "experiment.bucket_share" if self.arms[arm].share is None else f"arms.{arm}.share"

    def shares(self) -> dict[str, float]:
        """Share of the users in each arm, in canonical order."""
        return {
            name: self.experiment.bucket_share if arm.share is None else arm.share
            for name, arm in self.arms.items()
        }

    def days(self) -> range:
        """The simulated days of the experiment, 1 .. days."""
        return range(1, self.experiment.days + 1)

    def pre_days(self) -> range:
        """The simulated days of the pre-period, 1 - pre_days .. 0; day 0 is the offline holdout."""
        return range(1 - self.experiment.pre_days, 1)

    def to_toml(self) -> str:
        """The whole configuration, defaults included; `parse` of it gives an equal one."""
        return toml.dumps(self.model_dump(mode="json"))

    def config_hash(self) -> str:
        """16 hexadecimal digits that stand for everything that can change a result (not for `run`)."""
        data = self.model_dump(mode="json", exclude={"run"})
        for table, name in LATER_SETTINGS:  # older runs, which are without them, keep their hash
            if data[table][name] == type(getattr(self, table)).model_fields[name].default:
                del data[table][name]
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse(text: str) -> Config:
    """The configuration that a complete TOML text states, as `Config.to_toml` wrote it. Raises BadInput."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number of too many digits
        raise BadInput(f"config: got no TOML ({error}), allowed: TOML") from error
    return validate(data)


def validate(data: Mapping[str, Any]) -> Config:
    """The configuration of plain data. Raises BadInput with one line per problem."""
    try:
        text = json.dumps(data, default=str)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"config: got a value that cannot be written ({error}), allowed: plain data"
        ) from error
    try:
        return Config.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise BadInput("\n".join(describe(error, Config))) from error


def _raise(problems: list[str]) -> None:
    if problems:
        raise PydanticCustomError("paths", "{lines}", {"lines": "\n".join(problems)})
