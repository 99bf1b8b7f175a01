"""What `POST /rank` takes: a user by id or by features, and candidates; each mistake is named."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from experiment.config_errors import describe
from experiment.visitors import Visitors
from simulator.schema import NO_APP, Array, Cardinalities, Requests

CANDIDATES = 1000
"""Most candidates of a request."""

DAYS = 32_767
"""Simulated days lie within plus and minus this: a request's id has 16 bits for its day."""

CONTEXT = ("country", "language", "age_band", "gender", "device")


class BadBodyError(ValueError):
    """A body that cannot be ranked.

    Attributes:
        lines: one for each mistake, `field: got …, allowed: …`.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RankInput:
    """Reads bodies for a catalogue and a population.

    Args:
        cardinalities: of the attributes. apps: how many there are. capacity: most installed apps of a user.
        population: ids of users are below it; None where there are none to ask for.
    """

    def __init__(
        self, cardinalities: Cardinalities, apps: int, capacity: int, population: int | None
    ) -> None:
        sizes = {
            "country": cardinalities.countries,
            "language": cardinalities.languages,
            "age_band": cardinalities.age_bands,
            "gender": cardinalities.genders,
            "device": cardinalities.devices,
        }
        app: Any = Annotated[int, Field(ge=0, le=apps - 1)]
        fields: dict[str, Any] = {n: (int, Field(ge=0, le=size - 1)) for n, size in sizes.items()}
        fields["installed"] = (Annotated[list[app], Field(max_length=capacity)], [])
        user = create_model("User", __base__=_Body, **fields)
        body: dict[str, Any] = {
            "user_id": (int, Field(None, ge=0, le=(population or 2**62) - 1)),
            "user": (user, None),
            "candidates": (Annotated[list[app], Field(min_length=1, max_length=CANDIDATES)], None),
            "hour": (int, Field(None, ge=0, le=cardinalities.hours - 1)),
            "day": (int, Field(None, ge=-DAYS, le=DAYS)),
            "top": (int, Field(None, ge=1)),
        }
        self._body = create_model("Body", __base__=_Body, **body)
        self._capacity, self._known_users = capacity, population is not None

    def parse(self, text: bytes) -> Any:
        """The fields that a body states; the others are None.

        Raises:
            BadBodyError: it is no JSON, or a field is missing, unknown or out of range.
        """
        try:
            body: Any = self._body.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if first["type"] == "json_invalid":
                raise BadBodyError(
                    [f"body: got no JSON ({first['ctx']['error']}), allowed: a JSON object"]
                ) from error
            lines = describe(error, self._body)
            raise BadBodyError([f"body{line}" if line.startswith(":") else line for line in lines]) from error
        if body.user_id is None and body.user is None:
            allowed = "user_id, or user and candidates" if self._known_users else "user and candidates"
            raise BadBodyError([f"user: got nothing, allowed: {allowed}"])
        if body.user_id is not None and (body.user is not None or not self._known_users):
            allowed = "one of user and user_id" if self._known_users else "user"
            raise BadBodyError([f"user_id: got {body.user_id}, allowed: {allowed}"])
        if body.user is not None and body.candidates is None:
            raise BadBodyError(["candidates: got nothing, allowed: a list of apps"])
        return body

    def requests(self, body: Any, visitors: Visitors | None) -> Requests:
        """One request, as the body of `parse` asks for it; `visitors` know users by their id."""
        apps = None if body.candidates is None else np.array(body.candidates, np.int32)
        if body.user_id is not None:
            assert visitors is not None
            return visitors.request(body.user_id, day=body.day, hour=body.hour, candidates=apps)
        assert apps is not None
        installed = np.full((1, self._capacity), NO_APP, np.int32)
        installed[0, : len(body.user.installed)] = body.user.installed
        today = 1 if visitors is None else visitors.day
        context: dict[str, Array] = {n: np.array([getattr(body.user, n)], np.int8) for n in CONTEXT}
        return Requests(
            request_id=np.zeros(1, np.uint64),
            user_id=np.zeros(1, np.int64),
            sim_day=np.array([today if body.day is None else body.day], np.int32),
            hour=np.array([12 if body.hour is None else body.hour], np.int8),
            **context,
            installed=installed,
            apps=apps[None],
        )
