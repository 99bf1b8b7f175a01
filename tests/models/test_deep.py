"""The deep part against plain torch: forward, gradients, AdaGrad, growth, folding."""

import dataclasses

import numpy as np
import pytest
import torch

from models import rows
from models.deep import NetPart
from models.features import Features
from models.settings import DeepSettings, FeatureSettings, NetSettings, paper_net
from models.training import residuals
from models.wide_deep import Deep

NET = NetSettings(embedding_dim=5, hidden=(14, 9, 6))


@pytest.fixture(scope="module")
def world(lab):
    store = lab.store(seed=1)
    return store, store.log(np.random.default_rng(2), 200, [1, 2])


def prepared(lab, world, net=NET, grow=True):
    store, log = world
    features = Features(
        store.apps, lab.cardinalities, FeatureSettings(installed_min_count=20, app_min_count=20)
    )
    part = NetPart(features, net, 4)
    first = log.take(log.requests.sim_day == 1)
    features.grow(first)
    features.learn(first)
    day = features.day(log.take(log.requests.sim_day == 2))
    if grow:
        part.grow(day)
    return part, day


def plain_logits(weights, day, blocks, hidden):
    """The network written as in the paper, one row per impression, nothing shared."""
    f, S = day.features, day.apps.shape[1]
    table = weights["attributes"]
    every = torch.from_numpy(day.apps.ravel().astype(np.int64))
    user = table[torch.from_numpy(day.codes + blocks.user)].flatten(1)
    pooled = []
    for own in day.installed:
        ids = f.installed_rows[own[own >= 0]]
        ids = torch.from_numpy(ids[ids > 0].astype(np.int64))
        pooled.append(weights["installed"][ids].mean(0) if len(ids) else torch.zeros(table.shape[1]))
    user = torch.cat([user, torch.stack(pooled)], 1).repeat_interleave(S, 0)
    ids = np.concatenate([f.codes, day.ages[:, None]], 1) + blocks.app
    attributes = table[torch.from_numpy(ids)[every]].flatten(1)
    own = weights["apps"][torch.from_numpy(f.app_rows.astype(np.int64))[every]]
    dense = torch.from_numpy(f.dense)[every]
    place = table[torch.from_numpy(day.positions.ravel() + blocks.position)]
    x = torch.cat([user, own, attributes, dense, place], 1)
    first = torch.cat([weights["user1"], weights["app1"], weights["position1"]], 1)
    x = torch.relu(x @ first.T + weights["bias1"])
    for layer in range(2, len(hidden) + 1):
        x = torch.relu(x @ weights[f"layer{layer}"].T + weights[f"bias{layer}"])
    return (x @ weights["out"][0] + weights["out_bias"]).view(day.apps.shape)


@pytest.mark.parametrize("hidden", [(14, 9, 6), (11,)])
def test_two_steps_equal_autograd_and_torch_adagrad(lab, world, hidden):
    net = NET.model_copy(update={"hidden": hidden})
    part, day = prepared(lab, world, net)
    assert (day.features.app_rows[day.apps] == 0).any()  # out of vocabulary: a row like others
    assert (day.features.app_rows[day.apps] > 0).any()
    leaves = {k: v.clone().requires_grad_() for k, v in part.weights.items()}
    adagrad = torch.optim.Adagrad(
        leaves.values(), lr=net.learning_rate, initial_accumulator_value=net.initial_accumulator
    )
    for start in (0, 50):
        batch = day.rows(start, start + 50)
        logits = part.logits(batch)
        expected = plain_logits(leaves, batch, part.blocks, hidden)
        np.testing.assert_allclose(logits, expected.detach().numpy(), atol=1e-6)
        gradients = np.empty_like(logits)
        residuals(logits, batch.labels, gradients)
        part.step(gradients)
        adagrad.zero_grad()
        labels = torch.from_numpy(batch.labels)
        torch.nn.functional.binary_cross_entropy_with_logits(expected, labels, reduction="sum").backward()
        adagrad.step()
        for name, leaf in leaves.items():
            np.testing.assert_allclose(part.weights[name], leaf.detach(), atol=2e-6, err_msg=name)
            squares = adagrad.state[leaf]["sum"]
            np.testing.assert_allclose(part.squares[name], squares, rtol=2e-5, atol=1e-6, err_msg=name)


def test_rows_without_gradient_do_not_move(lab, world):
    part, day = prepared(lab, world)
    before = {k: v.clone() for k, v in part.weights.items()}
    part.logits(day.rows(0, 3))
    part.step(np.ones((3, 10), np.float32))
    touched = set(day.features.app_rows[day.apps[:3]].ravel().tolist())
    for row in range(len(before["apps"])):
        assert torch.equal(before["apps"][row], part.weights["apps"][row]) == (row not in touched)
    assert not any(table.any() for name, table in part._gradients.items() if name in ("apps", "installed"))


def test_row_sparse_adagrad_equals_torch_on_repeated_rows():
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.normal(size=(30, 4)).astype(np.float32))
    table = torch.nn.Embedding.from_pretrained(weights.clone(), freeze=False)
    adagrad = torch.optim.Adagrad(table.parameters(), lr=0.05, initial_accumulator_value=0.1)
    squares, gradients = torch.full_like(weights, 0.1), torch.zeros_like(weights)
    for _ in range(5):
        index = torch.from_numpy(rng.integers(0, 30, 12).astype(np.int32))
        source = torch.from_numpy(rng.normal(size=(12, 4)).astype(np.float32))
        adagrad.zero_grad()
        (table(index.long()) * source).sum().backward()
        adagrad.step()
        rows.add_rows(gradients, index, source)
        rows.adagrad(weights, squares, gradients, index, 0.05, 1e-10)
        assert not gradients.any()
        np.testing.assert_allclose(weights, table.weight.detach(), atol=1e-6)


def test_growth_keeps_rows_and_new_ones_do_not_depend_on_when(lab, world):
    store, log = world
    parts = []
    for first_days in ([1], [1, 2]):
        features = Features(store.apps, lab.cardinalities, FeatureSettings())
        part = NetPart(features, NET, 4)
        features.grow(log.take(np.isin(log.requests.sim_day, first_days)))
        part.grow(features.day(log))
        parts.append((features, part))
    features, part = parts[0]
    before = {k: (part.weights[k].clone(), part.squares[k].clone()) for k in ("apps", "installed")}
    part.weights["apps"] += 1
    features.grow(log.take(log.requests.sim_day == 2))
    part.grow(features.day(log))
    assert len(part.weights["apps"]) > len(before["apps"][0])
    assert torch.equal(part.weights["apps"][: len(before["apps"][0])], before["apps"][0] + 1)
    at_once, other = parts[1]
    new = [a for a in at_once.app_ids() if features.app_rows[a] >= len(before["apps"][0])]
    assert new
    for app in new:
        late = part.weights["apps"][features.app_rows[app]]
        assert torch.equal(late, other.weights["apps"][at_once.app_rows[app]])


def test_folded_scores_equal_the_plain_forward(lab, world):
    store, log = world
    for net in (
        NET,
        NetSettings(embedding_dim=3, hidden=(13,)),
        NetSettings(embedding_dim=8, hidden=(40, 21)),
    ):
        ranker = Deep(store.apps, lab.cardinalities, DeepSettings(deep=net), 4)
        ranker.fit(log, 1)
        part = ranker.parts["deep"]
        shown = dataclasses.replace(log, positions=np.zeros_like(log.positions))
        last = shown.take(log.requests.sim_day == 2)
        expected = plain_logits(part.weights, ranker.features.day(last), part.blocks, net.hidden)
        np.testing.assert_allclose(ranker.score(last.requests), expected, atol=2e-6)


def test_apps_without_history_share_rows(lab, world):
    store, log = world
    ranker = Deep(store.apps, lab.cardinalities, DeepSettings(deep=NET), 4)
    few = log.take(slice(0, 3))
    ranker.fit(few, 1)
    folded = ranker.publish().parts["deep"]
    assert len(folded._table) <= len(np.unique(few.requests.apps)) + len(
        np.unique(ranker.features.codes, axis=0)
    )


def test_bf16_is_close(lab, world):
    part, day = prepared(lab, world)
    rounded, _ = prepared(lab, world, NET.model_copy(update={"precision": "bf16"}))
    exact = part.logits(day)
    error = np.abs(rounded.logits(day) - exact).max()
    assert 0 < error < 0.02
    rounded.step(np.ones_like(exact))
    assert all(torch.isfinite(w).all() for w in rounded.weights.values())


def test_the_paper_preset_has_the_papers_concatenation(lab, world):
    net = paper_net()
    part, _ = prepared(lab, world, net, grow=False)
    assert net.hidden == (1024, 512, 256)
    assert net.embedding_dim == 32
    assert part.weights["layer3"].shape == (256, 512)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize(("precision", "atol"), [("fp32", 1e-3), ("bf16", 0.05)])
def test_an_accelerator_learns_the_same_and_repeats_itself(lab, world, precision, atol):
    store, log = world

    def learned(device, log):
        net = NET.model_copy(update={"device": device, "precision": precision})
        ranker = Deep(store.apps, lab.cardinalities, DeepSettings(deep=net), 4)
        ranker.fit(log, 1)
        return ranker.score(log.requests)

    np.testing.assert_array_equal(learned("cuda", log), learned("cuda", log))
    # after many steps, roundings have grown
    few = log.take(np.arange(40))
    np.testing.assert_allclose(learned("cpu", few), learned("cuda", few), atol=atol)
