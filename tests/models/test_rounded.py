"""The bf16 form of a published ranker: close to fp32, and as free of order and shape."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit

from models import matmul, registry
from models.settings import NetSettings

bf16 = pytest.mark.skipif(not matmul.has_bf16(), reason="the processor has no bf16 products")
PAPER = NetSettings(embedding_dim=80, hidden=(1024, 512, 256))


@pytest.fixture(scope="module")
def world(lab):
    store = lab.store(seed=3)
    return store, store.requests(np.random.default_rng(8), 24, 100, 4)


def published(lab, store, net):
    settings = {"deep": net.model_dump()}
    return registry.create("wide_deep", store.apps, lab.cardinalities, settings, 7).publish()


@bf16
def test_scores_are_close_to_those_of_fp32(lab, world):
    store, requests = world
    exact = published(lab, store, PAPER)
    before, after = exact.score(requests), exact.rounded().score(requests)
    assert 0 < np.abs(after - before).max() < 1e-3  # log odds
    assert np.abs(expit(after) - expit(before)).max() < 5e-4  # chances of acquisition


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=bf16)])
def test_a_score_depends_on_neither_shape_nor_place(lab, world, precision):
    store, requests = world
    ranker = published(lab, store, PAPER)
    ranker = ranker.rounded() if precision == "bf16" else ranker
    scores = ranker.score(requests)
    for rows, width in ((1, 100), (1, 1), (3, 7), (5, 51), (2, 25), (24, 100)):
        part = dataclasses.replace(requests.take(slice(0, rows)), apps=requests.apps[:rows, :width])
        assert ranker.score(part).tobytes() == np.ascontiguousarray(scores[:rows, :width]).tobytes()
    turned = dataclasses.replace(requests, apps=np.ascontiguousarray(requests.apps[:, ::-1]))
    assert np.array_equal(ranker.score(turned)[:, ::-1], scores)


@bf16
def test_rounding_leaves_the_exact_model_as_it_was(lab, world):
    store, requests = world
    exact = published(lab, store, NetSettings(embedding_dim=5, hidden=(14, 9, 6)))
    before = exact.score(requests)
    rounded = exact.rounded()
    assert not np.array_equal(rounded.score(requests), before)
    assert np.array_equal(exact.score(requests), before)
    assert rounded.meta == exact.meta


@bf16
def test_a_net_of_one_layer_has_nothing_to_round(lab, world):
    store, requests = world
    exact = published(lab, store, NetSettings(embedding_dim=5, hidden=(14,)))
    assert np.array_equal(exact.rounded().score(requests), exact.score(requests))


def test_without_hardware_it_is_refused(lab, world, monkeypatch):
    monkeypatch.setattr(matmul, "has_bf16", lambda: False)
    message = r"^precision: got bf16 on a processor without bf16 products, fp32 is allowed$"
    with pytest.raises(ValueError, match=message):
        published(lab, world[0], PAPER).rounded()


def test_bytes_are_counted(lab, world):
    store, _ = world
    small = published(lab, store, NetSettings(embedding_dim=5, hidden=(14, 9)))
    large = published(lab, store, PAPER)
    assert 0 < small.nbytes < 2**20
    assert large.nbytes > 4 * (1024 * 512 + 512 * 256) * 2
    assert small.nbytes == published(lab, store, NetSettings(embedding_dim=5, hidden=(14, 9))).nbytes
