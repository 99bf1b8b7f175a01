"""Devices by name, and sums by row that repeat bit for bit."""

import re

import pytest
import torch

from models import devices, matmul
from models.estimator import WideDeepClassifier


def test_the_processor_is_always_there():
    assert devices.available()[0] == "cpu"
    assert devices.require("cpu") == torch.device("cpu")
    assert devices.require("cpu:0").type == "cpu"


@pytest.mark.parametrize("name", ["nonsense", "cuda:9999", "meta", "", None])
def test_a_device_that_is_not_here_is_refused(name):
    here = re.escape(", ".join(devices.available()))
    with pytest.raises(ValueError, match=f"^device: got {re.escape(repr(name))}, this machine has {here}$"):
        devices.require(name)


def test_the_classifier_says_so_too():
    model = WideDeepClassifier(device="nonsense")
    with pytest.raises(ValueError, match=r"^device: got 'nonsense', this machine has cpu"):
        model.fit([[1.0], [2.0]], [0, 1])


@pytest.mark.parametrize("name", devices.available()[:2])
def test_rows_are_added_as_often_as_they_are_named(name):
    target = torch.ones(4, 3, device=name)
    index = torch.tensor([2, 0, 2, 2], dtype=torch.int32, device=name)
    source = torch.arange(12, dtype=torch.float32, device=name).view(4, 3)
    expected = torch.ones(4, 3, device=name).index_add_(0, index, source)
    devices.add_at(target, index, source)
    torch.testing.assert_close(target, expected)


def test_products_of_an_accelerator_stay_fp32():
    matmul.prepare()
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
