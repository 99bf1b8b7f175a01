"""Candidates: distinct, released, not installed, tagged, and blind to everything but user and day."""

import numpy as np
import pytest

from simulator.retrieval import Counts, build_index, candidates, quotas
from simulator.schema import NO_APP, Source
from simulator.settings import RetrievalSettings
from simulator.traffic import Policy, arrive, serve


class Constant:
    def score(self, requests):
        return np.zeros(requests.apps.shape, np.float32)


@pytest.fixture(scope="module")
def learned(world):
    audience = arrive(world, np.arange(4000))
    counts = Counts.empty()
    index = build_index(world.retrieval, world.users.countries, world.catalogue, counts, -3)
    log, _ = serve(world, audience, -3, Policy(Constant(), "x", 10), index)
    return log, counts.updated(log, 0.9)


@pytest.fixture(scope="module")
def retrieved(world, learned):
    _, counts = learned
    index = build_index(world.retrieval, world.users.countries, world.catalogue, counts, 1)
    profiles = world.profiles(np.arange(3000))
    installed = world.initial_installs(profiles)
    installed[:5] = NO_APP
    rows = world.visitors(profiles, 1)
    requests, sources = world.requests(profiles, rows, installed, 1, index)
    return index, requests, sources


def test_candidates_are_distinct_released_and_not_installed(world, retrieved):
    _, requests, _ = retrieved
    assert requests.apps.shape == (len(requests), 60)
    ordered = np.sort(requests.apps, axis=1)
    assert (ordered[:, 1:] != ordered[:, :-1]).all()
    assert (world.apps.release_day[requests.apps] <= 1).all()
    for row in range(0, len(requests), 50):
        assert not set(requests.apps[row]) & (set(requests.installed[row]) - {NO_APP})


def test_each_candidate_comes_from_the_source_that_its_tag_names(world, retrieved):
    index, requests, sources = retrieved
    apps, category = requests.apps, world.apps.category
    charts = np.zeros((20, len(world.apps)), bool)
    charts[np.arange(20)[:, None], index.chart_apps] = True
    from_charts = sources == Source.CHARTS
    assert charts[np.broadcast_to(requests.country[:, None], apps.shape), apps][from_charts].all()
    releases = sources == Source.RELEASES
    age = 1 - world.apps.release_day[apps]
    assert (age[releases] < world.retrieval.release_days).all()
    for row in range(0, len(requests), 25):
        owned = requests.installed[row][requests.installed[row] != NO_APP]
        near = apps[row][sources[row] == Source.CATEGORY]
        assert set(category[near]) <= set(category[owned])
        related = apps[row][sources[row] == Source.RELATED]
        assert set(related) <= set(index.related[index.related_row[owned]].ravel())
    assert {int(s) for s in np.unique(sources)} >= {0, 1, 2, 3}


def test_charts_differ_by_country_once_production_has_a_log(world, learned):
    _, counts = learned
    charts = build_index(world.retrieval, world.users.countries, world.catalogue, counts, 1).chart_apps
    assert not np.array_equal(charts[0], charts[1])


def test_counts_decay_and_do_not_depend_on_the_order_of_rows(learned):
    log, counts = learned
    shuffled = log.take(np.random.default_rng(0).permutation(len(log)))
    again = Counts.empty().updated(shuffled, 0.9)
    assert np.array_equal(counts.installs, again.installs)
    assert np.array_equal(counts.pairs, again.pairs)
    assert np.array_equal(counts.weights, again.weights)
    assert counts.installs.sum() == log.labels.sum()
    later = counts.updated(log.take(slice(0, 0)), 0.5)
    assert later.installs.sum() == pytest.approx(0.5 * counts.installs.sum())
    far = counts
    for _ in range(40):
        far = far.updated(log.take(slice(0, 0)), 0.5)
    assert len(far.pairs) == 0


def test_pairs_count_what_was_acquired_beside_what(learned):
    log, counts = learned
    row, slot = (int(v[0]) for v in np.nonzero(log.labels))
    acquired, owned = int(log.requests.apps[row, slot]), int(log.requests.installed[row, 0])
    together = 0
    for b in range(len(log)):
        if log.labels[b][log.requests.apps[b] == acquired].any() and owned in log.requests.installed[b]:
            together += 1
    place = np.searchsorted(counts.pairs, (np.uint64(owned) << np.uint64(32)) | np.uint64(acquired))
    assert counts.weights[place] == together >= 1


def test_quotas_follow_the_shares():
    settings = RetrievalSettings(
        candidates=100, charts_share=0.25, category_share=0.5, releases_share=0.15, related_share=0.1
    )
    assert np.bincount(quotas(settings)).tolist() == [25, 50, 15, 10]


def test_shares_must_be_whole():
    with pytest.raises(ValueError, match=r"must be 1, got 1\.5"):
        RetrievalSettings(charts_share=0.9, category_share=0.45, releases_share=0.1, related_share=0.05)


def test_too_few_released_apps_is_an_error_that_says_so(make_world):
    world = make_world(0).__class__(
        make_world(0).settings.model_copy(update={"apps": 100}), make_world(0).users, RetrievalSettings(), 0
    )
    profiles = world.profiles(np.arange(50))
    index = build_index(world.retrieval, world.users.countries, world.catalogue, Counts.empty(), 1)
    rows = world.visitors(profiles, 1)
    with pytest.raises(ValueError, match=r"world\.apps: \d+ apps are released, at least 148 are needed"):
        world.requests(profiles, rows, world.initial_installs(profiles), 1, index)


def test_retrieval_is_a_function_of_user_and_day(world, retrieved):
    index, requests, _ = retrieved
    some = requests.take(np.array([40, 3, 7]))
    apps, _ = candidates(world.retrieval, world.seed, index, world.apps.category, some)
    assert np.array_equal(apps, requests.apps[[40, 3, 7]])


@pytest.mark.parametrize("length", [10, 300, 20_000])
def test_charts_are_those_of_sorting_the_whole_catalogue_for_each_country(world, learned, length):
    _, counts = learned
    settings = world.retrieval.model_copy(update={"chart_length": length})
    table = world.apps
    index = build_index(settings, 20, world.catalogue, counts, 1)
    local = np.zeros((20, len(table)), np.float32)
    places = counts.places.astype(np.int64)
    local[places >> 32, places & 0xFFFFFFFF] = counts.installs
    released = np.flatnonzero(table.release_day <= 1)
    prior = table.store_installs / table.store_installs.sum() * settings.prior_installs
    for country in range(20):
        weight = (local[country] + (prior + 0.5) / 20)[released]
        top = np.argsort(-weight, kind="stable")[:length]
        assert np.array_equal(index.chart_apps[country], released[top])


def test_neighbours_are_kept_for_apps_that_have_any(world, learned):
    _, counts = learned
    index = build_index(world.retrieval, 20, world.catalogue, counts, 1)
    owners = np.unique(counts.pairs >> np.uint64(32)).astype(np.int64)
    assert len(index.related) == 1 + len(owners)
    assert set(np.flatnonzero(index.related_row)) == set(owners.tolist())
    assert (index.related[0] == NO_APP).all()
    assert (index.related[1:, 0] != NO_APP).all()
