"""Where a run's configuration comes from: preset, then TOML file, then `--set`, then flags."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from experiment.config import DEFAULT_PRESET, Config, validate
from experiment.config_errors import close, listed
from experiment.errors import BadInput
from experiment.rankers import KINDS, arm_order

_SHORT_NUMBER = re.compile(r"[+-]?(\d+\.|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def presets() -> list[str]:
    """The names of the presets, the default first."""
    names = {
        Path(f.name).stem for f in resources.files("experiment.presets").iterdir() if f.name.endswith(".toml")
    }
    return [DEFAULT_PRESET, *sorted(names - {DEFAULT_PRESET})]


def load(
    preset: str | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    file: Path | None = None,
    seed: int | None = None,
    arms: str | Sequence[str] | None = None,
    rankers: Mapping[str, str] | None = None,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
) -> Config:
    """The configuration of a run.

    Args:
        preset: one of `presets()`; without it the `preset` that `file` names, else `quick`.
        overrides: `path=value` with the value as in TOML (a bare word is a string), or path to value.
        file: a TOML file laid over the preset; arms that it names replace the preset's.
        seed: replaces `seed`.
        arms: the arms that take part, names or one text with commas: arms of the preset or kinds of ranker.
        rankers: further arms, name to `module:Class`.
        workers: replaces `run.workers`.
        executor: replaces `run.executor`.
        address: replaces `run.address`.

    Raises:
        BadInput: with one line per problem, each naming the field, what was got and what is allowed.
    """
    given = _read(file) if file is not None else {}
    name = preset or given.get("preset", DEFAULT_PRESET)
    if name not in presets():
        raise BadInput(f"preset: got {name!r}, allowed: {', '.join(presets())}{close(str(name), presets())}")
    data = tomllib.loads(resources.files("experiment.presets").joinpath(f"{name}.toml").read_text("utf-8"))
    data.setdefault("arms", {kind: {} for kind in ("wide", "deep", "wide_deep")})
    if isinstance(given.get("arms"), dict):
        data["arms"] = {arm: data["arms"].get(arm, {}) for arm in given["arms"]}
    data = _merge(data, {**given, "preset": name})
    if not isinstance(data["arms"], dict):
        raise BadInput(f"arms: got {data['arms']!r}, allowed: a table")
    _choose(data, arms, rankers or {})
    for path, value in parse_overrides(overrides):
        parts = path.split(".")
        if path == "preset":
            raise BadInput(f"preset: got {value!r} among the settings, allowed: --preset, under them all")
        if arms is not None and parts[0] == "arms" and parts[1:2] and parts[1] not in data["arms"]:
            raise BadInput(f"{path}: got an arm that takes no part, allowed: {', '.join(data['arms'])}")
        _set(data, path, value)
    if seed is not None:
        data["seed"] = seed
    for key, value in (("workers", workers), ("executor", executor), ("address", address)):
        if value is not None:
            _set(data, f"run.{key}", value)
    return validate(data)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"config: got {file}, allowed: a readable TOML file ({error})") from error
    except (ValueError, RecursionError) as error:  # also of a number of too many digits
        raise BadInput(f"config: got {file}, allowed: TOML ({error})") from error


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _choose(data: dict[str, Any], chosen: str | Sequence[str] | None, own: Mapping[str, str]) -> None:
    """Narrows or widens `data["arms"]` to the chosen arms and the user's own rankers."""
    arms: dict[str, Any] = data["arms"]
    if chosen is not None:
        names = [name.strip() for name in (chosen.split(",") if isinstance(chosen, str) else chosen)]
        allowed = arm_order({*arms, *KINDS, *own})
        problems = [
            f"arms: got {n!r} {names.count(n)} times, allowed: once"
            for n in listed(names)
            if names.count(n) > 1
        ]
        problems += [
            f"arms: got {n!r}, allowed: {', '.join(allowed)}{close(n, allowed)}"
            for n in listed(names)
            if n not in allowed
        ]
        if problems:
            raise BadInput("\n".join(problems))
        arms = {name: arms.get(name, {}) for name in names}
    data["arms"] = _merge(arms, {name: {"kind": kind} for name, kind in own.items()})


def parse_overrides(overrides: Sequence[str] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Path and value of each `path=value`, the value as in TOML; a mapping's items. Raises BadInput."""
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    pairs: list[tuple[str, Any]] = []
    for text in [overrides] if isinstance(overrides, str) else overrides:
        path, equals, value = (part.strip() for part in text.partition("="))
        if not path or not equals:
            raise BadInput(f"set: got {text!r}, allowed: path=value, for example world.drift=0.05")
        try:
            pairs.append((path, tomllib.loads(f"value = {value}")["value"]))
        except (ValueError, RecursionError):  # a bare word, or a number such as .05
            pairs.append((path, float(value) if _SHORT_NUMBER.fullmatch(value) else value))
    return pairs


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    *tables, key = path.split(".")
    for depth, name in enumerate(tables):
        inner = data.setdefault(name, {})
        if not isinstance(inner, dict):
            raise BadInput(f"{'.'.join(tables[: depth + 1])}: got a path below it, allowed: a value")
        data[name] = data = dict(inner)
    data.update(_merge(data, {key: value}))
