"""Who is in which arm: a keyed permutation of the user ids, buckets, and ranges of buckets in layers.

A user's place is a function of salt and id, so an assignment needs no table. The permutation can be undone,
so the members of a small bucket are found without visiting anybody else, whatever the population.

    user id -> position (permutation) -> bucket = position * 1,000,000 // population -> arm (range of buckets)

Sources: Luby & Rackoff 1988 (Feistel permutations); Black & Rogaway 2002 (cycle walking); Tang et al. 2010,
"Overlapping experiment infrastructure" (layers with independent salts).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from simulator.schema import Array

if TYPE_CHECKING:
    from experiment.config import Config

BUCKETS = 1_000_000
"""Buckets of a layer; a share is held to one millionth."""

MAX_SLOTS = 16
MAX_POPULATION = 2**43
"""Up to here position * BUCKETS fits an int64."""

_ROUNDS = 10
_BLOCK = 1 << 14
"""Ids handled at once: the block's arrays stay in the processor's cache."""


@dataclass(frozen=True)
class Permutation:
    """A bijection of 0 .. population-1, drawn by `salt`.

    An unbalanced Feistel network on just enough bits, walked until it lands inside the population (at most
    two steps in the mean). Equal arguments give equal permutations on every machine.

    Attributes:
        salt: any text; different salts give independent permutations.
        population: how many users there are, 1 .. 2**43.
    """

    salt: str
    population: int
    _keys: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _bits: tuple[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.population <= MAX_POPULATION:
            raise ValueError(f"population: got {self.population}, allowed: 1 to {MAX_POPULATION}")
        digest = hashlib.shake_256(b"storelift assignment\0" + self.salt.encode()).digest(8 * _ROUNDS)
        keys = tuple(int.from_bytes(digest[8 * i : 8 * i + 8], "little") for i in range(_ROUNDS))
        bits = max(2, (self.population - 1).bit_length())
        object.__setattr__(self, "_keys", keys)
        object.__setattr__(self, "_bits", (bits - bits // 2, bits // 2))

    def position(self, user_ids: Array) -> Array:
        """The positions, int64[n], of `user_ids` (integers [n]). Raises ValueError for an id out of range."""
        return self._walk(user_ids, range(_ROUNDS), "user id")

    def user(self, positions: Array) -> Array:
        """The inverse of `position`: the user ids, int64[n], at `positions`."""
        return self._walk(positions, range(_ROUNDS - 1, -1, -1), "position")

    def _walk(self, values: Array, rounds: range, name: str) -> Array:
        values = np.asarray(values)
        if len(values) and not 0 <= values.min() <= values.max() < self.population:
            wrong = values[(values < 0) | (values >= self.population)][0]
            raise ValueError(f"{name}: got {wrong}, allowed: 0 to {self.population - 1}")
        out = np.empty(len(values), np.int64)
        for start in range(0, len(values), _BLOCK):
            x = self._shuffle(values[start : start + _BLOCK].astype(np.uint64), rounds)
            outside = np.flatnonzero(x >= self.population)
            while len(outside):
                x[outside] = self._shuffle(x[outside], rounds)
                outside = outside[x[outside] >= self.population]
            out[start : start + _BLOCK] = x
        return out

    def _shuffle(self, x: Array, rounds: range) -> Array:
        """One pass of the network over uint64[n]; a round changes one half by a hash of the other."""
        high_bits, low_bits = self._bits
        low_mask, high_mask = np.uint64((1 << low_bits) - 1), np.uint64((1 << high_bits) - 1)
        high, low = x >> np.uint64(low_bits), x & low_mask
        for i in rounds:
            key = np.uint64(self._keys[i])
            if i % 2 == 0:
                high ^= _mix(low, key) & high_mask
            else:
                low ^= _mix(high, key) & low_mask
        return (high << np.uint64(low_bits)) | low


def _mix(x: Array, key: np.uint64) -> Array:
    """A keyed 64-bit hash (the finaliser of SplitMix64, Steele et al. 2014) of uint64[n]."""
    x = x + key
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


@dataclass(frozen=True, slots=True)
class Slot:
    """The buckets start .. stop-1 of a layer, held by `arm`."""

    arm: str
    start: int
    stop: int


def plan(
    shares: Mapping[str, float], reserved: Mapping[str, float] | None = None, slots: int = 0
) -> tuple[Slot, ...]:
    """Lays out one layer: arm k starts at bucket k * 1e6 / slots, so that a ramp-up only adds users.

    Args:
        shares: share of the population of each arm, in order; at most 1 / slots each.
        reserved: groups that stand at the end of the layer, out of the arms' way.
        slots: number of starts; 0 takes floor(1 / largest share), at least the number of arms and at most 16.
            For a ramp-up beyond 1/16 state the slots of its last step from the beginning.

    Raises:
        ValueError: the shares do not fit; the message names the arm, its share and what is allowed.
    """
    fitting = int(min(1.0 / max(shares.values()) + 1e-9, MAX_SLOTS))  # a tiny share's inverse is infinite
    slots = slots or min(max(fitting, len(shares)), MAX_SLOTS)
    slots = max(slots, len(shares))
    out: list[Slot] = []
    for k, (arm, share) in enumerate(shares.items()):
        if share > 1.0 / slots + 1e-9:
            raise ValueError(
                f"{arm}: got share {share:g}, allowed: at most {1.0 / slots:g} with {slots} slots"
            )
        start = k * BUCKETS // slots
        out.append(Slot(arm, start, start + min(_buckets(share), BUCKETS // slots)))
    stop, taken = BUCKETS, out[-1].stop
    for name, share in (reserved or {}).items():
        start = stop - _buckets(share)
        if start < taken:
            raise ValueError(f"{name}: got share {share:g}, allowed: at most {(stop - taken) / BUCKETS:g}")
        out.append(Slot(name, start, stop))
        stop = start
    return tuple(out)


def _buckets(share: float) -> int:
    return round(share * BUCKETS)


@dataclass(frozen=True)
class Layer:
    """One experiment's split of the users; layers with other salts split the same users independently.

    Attributes:
        salt: the layer's own text.
        population: number of users.
        slots: who holds which buckets, see `plan`; the rest of the users are in no arm.
    """

    salt: str
    population: int
    slots: tuple[Slot, ...]
    permutation: Permutation = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "permutation", Permutation(self.salt, self.population))
        held = sorted(self.slots, key=lambda slot: slot.start)
        for slot, following in itertools.pairwise(held):
            if slot.stop > following.start:
                raise ValueError(f"slots: {slot.arm} and {following.arm} overlap at bucket {following.start}")

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the slots, in order."""
        return tuple(slot.arm for slot in self.slots)

    def positions(self, arm: str) -> tuple[int, int]:
        """First and last-plus-one position of `arm`. Raises KeyError for an unknown arm."""
        for slot in self.slots:
            if slot.arm == arm:
                return self._position(slot.start), self._position(slot.stop)
        raise KeyError(f"arm: got {arm!r}, allowed: {', '.join(self.arms)}")

    def size(self, arm: str) -> int:
        """How many users `arm` holds, without looking for them."""
        start, stop = self.positions(arm)
        return stop - start

    def members(self, arm: str) -> Array:
        """The user ids of `arm`, int64[size], ascending. Costs time by its size, not by the population."""
        return np.sort(self.permutation.user(np.arange(*self.positions(arm), dtype=np.int64)))

    def bucket(self, user_ids: Array) -> Array:
        """The buckets, int64[n] in 0 .. 999,999, of `user_ids`."""
        return self.permutation.position(user_ids) * BUCKETS // self.population

    def arm_of(self, user_ids: Array) -> Array:
        """Index into `arms` of each of `user_ids`, int16[n]; -1 for users of no arm."""
        bucket = self.bucket(user_ids)
        out = np.full(len(bucket), -1, np.int16)
        for index, slot in enumerate(self.slots):
            out[(bucket >= slot.start) & (bucket < slot.stop)] = index
        return out

    def _position(self, bucket: int) -> int:
        """The first position of `bucket`: the smallest p with p * BUCKETS // population >= bucket."""
        return -(-bucket * self.population // BUCKETS)


PRODUCTION = "production"
"""Name of the group that stays with production through the experiment."""


def layer_of(config: Config) -> Layer:
    """The layer of an experiment: its arms in canonical order, production's own sample at the end."""
    reserved = {PRODUCTION: config.production.share} if config.production.share > 0 else {}
    slots = plan(config.shares(), reserved, config.experiment.slots)
    return Layer(config.experiment.salt, config.users.population, slots)
