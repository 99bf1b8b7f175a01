"""The written-out network against autograd and Adagrad: folded, gathered, one value and several."""

import itertools

import numpy as np
import pytest
import torch

from models import table_net, table_rows
from models.table_net import NetSettings, TableNet

SIZES = [3, 700, 5, 900]
WIDTHS = [None, None, 3, 2]  # None: one value to a row
B, D, HIDDEN, DENSE = 64, 4, (8, 6), 2


def network(precision: str = "fp32", sizes: list[int] = SIZES, dense: int = DENSE) -> TableNet:
    settings = NetSettings(D, HIDDEN, 0.05, 0.1, precision, "cpu")
    return TableNet(sizes, dense, settings, np.random.default_rng(5))


def batch(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    columns = [
        rng.integers(0, size, B if width is None else (B, width)).astype(np.int32)
        for size, width in zip(SIZES, WIDTHS, strict=True)
    ]
    columns[2][3] = 0  # a row without any value
    return columns, rng.random((B, DENSE), np.float32)


class Plain(torch.nn.Module):
    """The same network by torch: one embedding per column, one first layer over everything."""

    def __init__(self, net: TableNet) -> None:
        super().__init__()
        w = net.weights
        tables: list[torch.Tensor] = [torch.empty(0)] * len(SIZES)
        first: list[torch.Tensor] = [torch.empty(0)] * len(SIZES)
        bounds = itertools.pairwise(np.cumsum([0, *(SIZES[f] for f in net.folded)]).tolist())
        for j, (f, (a, b)) in enumerate(zip(net.folded, bounds, strict=True)):
            tables[f], first[f] = w["embedding"][a:b], w["fold"][j].t()
        bounds = itertools.pairwise(np.cumsum([0, *(SIZES[f] for f in net.gathered)]).tolist())
        for j, (f, (a, b)) in enumerate(zip(net.gathered, bounds, strict=True)):
            tables[f], first[f] = net.table[a:b], w["layer1"][:, j * D : (j + 1) * D]
        first.append(w["layer1"][:, len(net.gathered) * D :])
        self.tables = torch.nn.ParameterList([t.clone() for t in tables])
        self.first = torch.nn.ParameterList([t.clone() for t in first])
        rest = ("bias1", "layer2", "bias2", "out")
        self.rest = torch.nn.ParameterDict({name: w[name].clone() for name in rest})

    def forward(self, columns: list[np.ndarray], dense: np.ndarray) -> torch.Tensor:
        h = torch.from_numpy(dense) @ self.first[-1].t() + self.rest["bias1"]
        for table, first, column in zip(self.tables, self.first, columns, strict=False):
            ids = torch.from_numpy(column).long()
            x = table[ids]
            if ids.ndim == 2:
                present = (ids > 0).float()[:, :, None]
                x = (x * present).sum(1) / present.sum(1).clamp(min=1)
            h = h + x @ first.t()
        h = torch.relu(h)
        h = torch.relu(h @ self.rest["layer2"].t() + self.rest["bias2"])
        return h @ self.rest["out"]


def test_equals_autograd_and_adagrad() -> None:
    net, rng = network(), np.random.default_rng(1)
    assert net.folded == [0, 2]
    plain = Plain(net)
    optimizer = torch.optim.Adagrad(plain.parameters(), lr=0.05, initial_accumulator_value=0.1)
    for _ in range(5):
        columns, dense = batch(rng)
        labels = rng.integers(0, 2, B).astype(np.float32)
        logits = net.logits(net.arrange(columns, dense))
        expected = plain(columns, dense)
        np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
        net.step((1 / (1 + np.exp(-logits)) - labels).astype(np.float32))
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            expected, torch.from_numpy(labels), reduction="sum"
        )
        loss.backward()
        optimizer.step()
    after = Plain(net)
    for ours, theirs in zip(after.parameters(), plain.parameters(), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=2e-4, atol=2e-5)


def test_folding_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, dense = batch(np.random.default_rng(2))
    folded = network()
    monkeypatch.setattr(table_net, "FOLDED_VALUES", 0)
    gathered = network()
    assert gathered.folded == []
    plain = Plain(folded)
    with torch.no_grad():  # the same weights in the other layout
        bounds = np.cumsum([0, *SIZES]).tolist()
        for f, (a, b) in enumerate(itertools.pairwise(bounds)):
            gathered.table[a:b] = plain.tables[f]
            gathered.weights["layer1"][:, f * D : (f + 1) * D] = plain.first[f]
        gathered.weights["layer1"][:, len(SIZES) * D :] = plain.first[-1]
        for name in plain.rest:
            gathered.weights[name][:] = plain.rest[name]
    g = np.random.default_rng(3).normal(size=B).astype(np.float32)
    for _ in range(3):
        a, b = (
            folded.logits(folded.arrange(columns, dense)),
            gathered.logits(gathered.arrange(columns, dense)),
        )
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        folded.step(g)
        gathered.step(g)


def test_the_loops_equal_the_torch_operations() -> None:
    rng = np.random.default_rng(4)
    ids = torch.from_numpy(rng.integers(-1, 50, (B, 4)).astype(np.int32))
    ids[7] = -1
    starts = torch.tensor([0, 1, 4])
    table = torch.from_numpy(rng.normal(size=(50, D)).astype(np.float32))
    hidden = torch.from_numpy(rng.normal(size=(B, D)).astype(np.float32))
    gradient = torch.from_numpy(rng.normal(size=(B, 2 * D)).astype(np.float32))

    class Elsewhere(torch.Tensor):
        """A tensor that says it is not on the CPU, so that the torch operations run."""

        is_cpu = False

    def both(function: object, *arguments: torch.Tensor) -> list[torch.Tensor]:
        results = []
        for kind in (torch.Tensor, Elsewhere):
            own = [argument.clone().as_subclass(kind) for argument in arguments]
            function(*own)  # type: ignore[operator]
            results.append(torch.cat([o.as_subclass(torch.Tensor).flatten() for o in own]))
        return results

    rows = table_rows.AdagradRows(50)
    cases = [
        both(lambda t, out: table_rows.gather(t, ids, starts, out), table, torch.zeros(B, 2 * D)),
        both(lambda h, t: table_rows.join(h, t, ids, starts), hidden, table),
        both(lambda h, g: table_rows.mask(h, g), hidden.relu(), hidden + 1),
        both(lambda g, t: table_rows.split(g, ids, starts, t), hidden, table),
        both(lambda w, s, g: table_rows.adagrad(w, s, g, 0.1), hidden[0], hidden[1] ** 2, hidden[2]),
        both(lambda w, s: rows.step(w, s, ids, starts, gradient, 0.1), table, table**2),
    ]
    for ours, theirs in cases:
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_untouched_rows_never_move_and_unknown_values_start_at_zero() -> None:
    net, rng = network(), np.random.default_rng(6)
    columns, dense = batch(rng)
    columns[1][:] = 5
    start = net.arrange([np.zeros_like(c) for c in columns], dense)
    for f in (0, 1):
        alone = network(sizes=[SIZES[f]], dense=0)
        unknown = alone.arrange([np.zeros(1, np.int32)], np.zeros((1, 0), np.float32))
        assert alone.logits(unknown)[0] == 0.0
    before = net.table.clone()
    net.logits(net.arrange(columns, dense))
    net.step(np.ones(B, np.float32))
    moved = torch.nonzero((net.table != before).any(1)).flatten().tolist()
    expected = {5} | {700 + v for v in set(columns[3].ravel().tolist()) - {0}}
    assert set(moved) <= expected
    assert 5 in moved
    assert np.isfinite(net.logits(start)).all()


def test_bf16_is_near_fp32() -> None:
    columns, dense = batch(np.random.default_rng(7))
    exact, short = network(), network("bf16")
    for _ in range(3):
        a = exact.logits(exact.arrange(columns, dense))
        b = short.logits(short.arrange(columns, dense))
        np.testing.assert_allclose(a, b, rtol=0.1, atol=0.05)
        exact.step(a)
        short.step(b)


def test_state_goes_on_as_the_original() -> None:
    columns, dense = batch(np.random.default_rng(8))
    original, copy = network(), network()
    original.logits(original.arrange(columns, dense))
    original.step(np.ones(B, np.float32))
    copy.restore(original.to_state())
    for net in (original, copy):
        net.logits(net.arrange(columns, dense))
        net.step(np.ones(B, np.float32))
    for name, array in original.to_state().items():
        np.testing.assert_array_equal(array, copy.to_state()[name])
