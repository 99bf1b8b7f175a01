"""What pydantic found wrong, as lines of the form `path: got …, allowed: …`."""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", dict: "a table"}
_BOUNDS = ((Ge, "ge", "at least"), (Gt, "gt", "more than"), (Le, "le", "at most"), (Lt, "lt", "less than"))


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per problem of `error` in `model`'s data, in the order of the fields, none twice."""
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        path, field, owner = _locate(model, problem["loc"])
        if problem["type"] == "paths":
            lines += scoped(path, problem["ctx"]["lines"].split("\n"))
        elif problem["type"] == "value_error":
            lines.append(f"{path}: {problem['ctx']['error']}")
        elif problem["type"] == "extra_forbidden":
            keys = list(owner.model_fields) if owner else []
            key = str(problem["loc"][-1])
            lines.append(
                f"{path}: got an unknown key, allowed: {', '.join(keys) or 'nothing'}{close(key, keys)}"
            )
        elif problem["type"] == "string_pattern_mismatch" and problem["loc"][-1] == "[key]":
            allowed = "a name of small letters, digits and _, at most 32, a letter first"
            lines.append(f"{path}: got {_shown(problem['input'])}, allowed: {allowed}")
        elif problem["type"] == "missing":
            lines.append(f"{path}: got nothing, allowed: {_allowed(field) or 'a value'}")
        else:
            allowed = _allowed(field) or problem["msg"][0].lower() + problem["msg"][1:]
            lines.append(f"{path}: got {_shown(problem['input'])}, allowed: {allowed}")
    return listed(lines)


def scoped(path: str, lines: Iterable[str]) -> list[str]:
    """`lines` with `path` before their own paths."""
    return [f"{path}.{line}" if path else line for line in lines]


def listed(items: Iterable[str]) -> list[str]:
    """`items` without repetitions, in order."""
    return list(dict.fromkeys(items))


def close(name: str, allowed: Iterable[str]) -> str:
    """` (did you mean NAME?)` for a near miss, else nothing."""
    near = difflib.get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _locate(
    model: type[BaseModel], loc: tuple[int | str, ...]
) -> tuple[str, FieldInfo | None, type[BaseModel] | None]:
    """The path that a user would write for `loc`, its field, and the model its end lies in."""
    path: list[str] = []
    field: FieldInfo | None = None
    owner: type[BaseModel] | None = model
    annotation: Any = model
    for part in loc:
        if part == "[key]":
            break
        if owner is not None:
            path.append(_part(part))
            field = owner.model_fields.get(str(part))
            if field is None:
                break
            annotation = field.annotation
        elif typing.get_origin(annotation) is dict:
            path.append(_part(part))
            annotation = typing.get_args(annotation)[1]
        elif isinstance(part, int):
            path.append(_part(part))
        else:  # the tag of a union's member
            break
        owner = _model_of(annotation)
    return ".".join(path), field, owner


def _part(part: int | str) -> str:
    """A key as it stands in a path, quoted where it is no plain word."""
    text = str(part)
    return text if re.fullmatch(r"[\w-]+", text) else json.dumps(text)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _allowed(field: FieldInfo | None) -> str:
    """What a field takes, in words: type and range, or the choices; nothing where there is no word for it."""
    if field is None:
        return ""
    constraints, words = list(field.metadata), []
    for option in _options(field.annotation):
        plain = option
        if typing.get_origin(option) is typing.Annotated:
            plain, *more = typing.get_args(option)
            constraints += more
        if typing.get_origin(plain) is typing.Literal:
            return " or ".join(map(repr, typing.get_args(plain)))
        word = "a table" if _model_of(plain) else _WORDS.get(typing.get_origin(plain) or plain)
        if word is None:
            return ""
        words.append(word)
    flat = [inner for c in constraints for inner in (c.metadata if isinstance(c, FieldInfo) else [c])]
    return " ".join([" or ".join(listed(words)), _range(flat)]).strip()


def _range(constraints: list[Any]) -> str:
    bounds = {
        word: _number(getattr(constraint, attribute))
        for kind, attribute, word in _BOUNDS
        for constraint in constraints
        if isinstance(constraint, kind)
    }
    if bounds.keys() == {"at least", "at most"}:
        return f"from {bounds['at least']} to {bounds['at most']}"
    return ", ".join(f"{word} {bound}" for word, bound in bounds.items())


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _options(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [option for option in typing.get_args(annotation) if option is not type(None)]
    return [annotation]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
