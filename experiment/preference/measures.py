"""Sparsity, spectrum and effective rank of what users truly want, with the exceptions and without.

Memorising can only pay where preferences have a part that no embedding of small dimension holds (Cheng et al.
2016, section 1: "sparse and high-rank"). Here that is a number: the log odds of sampled users and apps, less
the means of both, are a matrix whose singular values say how many dimensions it takes; so is R itself.

Effective rank is exp(entropy) of the singular values as shares (Roy & Vetterli 2007): n equal ones give n. It
is of the sample and grows with it, and so does what an embedding leaves of sampled rows; of R as a whole the
largest singular values are found too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from experiment.config import Config
from experiment.worlds import world_of
from simulator.population import sample_users
from simulator.schema import Array, Requests
from simulator.world import World

FORMAT = 1

DIMENSIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Of embeddings: what share of the variance the best of them leaves is said for each."""

MOST_APPS = 200_000
"""Of larger catalogues the rank of the whole R is not determined."""

NOTHING = 1e-6
"""A singular value below this share of the largest is rounding: it comes from its square."""

MOST_SPLIT = 50_000
"""Of larger catalogues what embeddings leave of the whole R is not determined: 64,000 apps took a minute."""

DENSE = 2_000
"""Up to so many apps all singular values of R are found at once, which is then faster."""

FIRST = 128
"""So many of the largest singular values of a larger R are found."""

POINTS = 120
"""At most so many singular values of a matrix are kept, evenly in the logarithm of their place."""


def measure(config: Config, *, users: int = 600, apps: int = 1200, day: int = 1) -> dict[str, Any]:
    """The document of the world of `config` on a simulated day.

    Args:
        config: of a run. users, apps: sample sizes, at most; as many rows of R are taken as apps.
        day: whose exceptions hold, and by which the apps are released.

    Returns:
        What is of the sample, of every other row and column of it (`half`), and of the whole R: `rank_of_r`
        and `left_of_r`, by embedding dimension the share of its squares that the best embedding leaves, None
        where R is 0 or too large.
    """
    world = world_of(config)
    rng = np.random.default_rng(config.seed)
    people = np.unique(sample_users(config.users, config.seed))
    people = np.sort(rng.choice(people, min(users, len(people)), replace=False))
    released = np.flatnonzero(world.apps.release_day <= day)
    shown = np.sort(rng.choice(released, min(apps, len(released)), replace=False))
    smooth, exceptions = _log_odds(world, people, shown, day)
    rows = np.sort(rng.choice(config.world.apps, min(apps, config.world.apps), replace=False))
    r, start = _matrix(world, day), rng.standard_normal(config.world.apps)
    half = _centred((smooth + exceptions)[::2, ::2])
    half_spectrum = spectrum(_values(half @ half.T))
    smooth, whole = _centred(smooth), _centred(smooth + exceptions)
    return {
        "format": FORMAT,
        "config_hash": config.config_hash(),
        "preset": config.preset,
        "seed": config.seed,
        "day": day,
        "users": len(people),
        "apps": len(shown),
        "sparsity": {
            "pairs_with_exception": float((exceptions != 0).mean()),
            "cells_of_r": r.nnz / len(world.apps) ** 2,
            "apps_with_exception_per_user": float((exceptions != 0).mean() * len(released)),
        },
        "variance": {
            "smooth": float(smooth.var()),
            "exceptions": float(_centred(exceptions).var()),
            "whole": float(whole.var()),
        },
        "spectra": {
            "smooth": spectrum(_values(smooth @ smooth.T)),
            "whole": spectrum(_values(whole @ whole.T)),
            "exceptions": spectrum(_values(_products(r[rows]))),
        },
        "half": {
            "users": half.shape[0],
            "apps": half.shape[1],
            "effective_rank": None if half_spectrum is None else half_spectrum["effective_rank"],
        },
        "rank_of_r": _rank(r),
        "left_of_r": _left(r, start),
        "catalogue": config.world.apps,
    }


def spectrum(values: Array) -> dict[str, Any] | None:
    """What singular values float64[n], descending, say of their matrix; None where all are 0.

    Returns:
        `size` n; `effective_rank`; `rank_90`, the fewest dimensions that hold 90% of the variance; `left`, by
        embedding dimension, the share of the variance that the best embedding leaves; `places` and `values`:
        the spectrum itself, in shares of the largest.
    """
    values = np.asarray(values, np.float64)
    values = np.where(values > NOTHING * values.max(initial=0.0), values, 0.0)
    if not values.any():
        return None
    shares = values[values > 0] / values.sum()
    held = np.cumsum(values**2) / np.sum(values**2)
    places = np.unique(np.geomspace(1, len(values), POINTS).round().astype(np.int64))
    return {
        "size": len(values),
        "effective_rank": float(np.exp(-(shares * np.log(shares)).sum())),
        "rank_90": int(np.searchsorted(held, 0.9) + 1),
        "left": {str(d): max(0.0, float(1.0 - held[min(d, len(held)) - 1])) for d in DIMENSIONS},
        "places": places.tolist(),
        "values": (values[places - 1] / values[0]).tolist(),
    }


def _log_odds(world: World, people: Array, apps: Array, day: int) -> tuple[Array, Array]:
    """float64[users, apps]: the smooth log odds at noon, and the exceptions on top of them."""
    profiles = world.profiles(people)
    n = len(people)
    requests = Requests(
        request_id=np.arange(n, dtype=np.uint64),
        user_id=people,
        sim_day=np.full(n, day, np.int32),
        hour=np.full(n, 12, np.int8),
        device=profiles.device,
        country=profiles.country,
        language=profiles.language,
        age_band=profiles.age_band,
        gender=profiles.gender,
        installed=world.initial_installs(profiles),
        apps=np.tile(apps.astype(np.int32), (n, 1)),
    )
    odds, exceptions = world.log_odds(profiles, np.arange(n), requests)
    return odds - exceptions, exceptions


def _centred(matrix: Array) -> Array:
    """Less the means of rows and columns: who installs and what everybody likes is no preference."""
    return np.asarray(matrix - matrix.mean(axis=0) - matrix.mean(axis=1, keepdims=True) + matrix.mean())


def _matrix(world: World, day: int) -> Any:
    """R of a day as a sparse matrix [A shown, A installed] that holds no zeros."""
    from scipy.sparse import csr_matrix

    today = world.exceptions(day)
    apps, slots = today.companions.shape
    rows = np.repeat(np.arange(apps), slots)
    made = csr_matrix((today.weights.ravel(), (rows, today.companions.ravel())), shape=(apps, apps))
    made.eliminate_zeros()
    return made


def _products(rows: Any) -> Array:
    """float64[rows, rows]: the products of the rows of a sparse matrix with each other."""
    return np.asarray((rows @ rows.T).toarray())


def _values(products: Array) -> Array:
    """Singular values of M, descending, by the eigenvalues of M M^T: five times as fast as its own."""
    return np.sqrt(np.maximum(np.linalg.eigvalsh(products)[::-1], 0.0))


def _left(r: Any, start: Array) -> dict[str, float] | None:
    """By embedding dimension, the share of R's squares that the best embedding leaves.

    Args:
        r: sparse [A, A]. start: float64[A], where the search begins, so that it ends the same each time.
    """
    from scipy.sparse.linalg import svds

    apps = r.shape[0]
    if not r.nnz or apps > MOST_SPLIT:
        return None
    if apps <= DENSE:
        values = _values(_products(r))
    else:
        room = min(
            4 * FIRST, apps - 1
        )  # of twice as many only, the default, the search starts over too often
        found = svds(r, k=FIRST, ncv=room, v0=start, tol=1e-6, return_singular_vectors=False)
        values = np.sort(found)[::-1]
    held = np.cumsum(values**2) / float((r.data**2).sum())
    return {str(d): max(0.0, float(1.0 - held[d - 1])) for d in DIMENSIONS if d <= FIRST}


def _rank(r: Any) -> int | None:
    """The rank that R has by where its cells are (almost surely its rank, since weights are drawn freely)."""
    from scipy.sparse.csgraph import structural_rank

    if r.shape[0] > MOST_APPS:
        return None
    return int(structural_rank(r)) if r.nnz else 0
