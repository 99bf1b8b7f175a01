"""Keyed randomness of learners."""

import numpy as np
import pytest

from models.keyed import normals, order, stream


@pytest.mark.parametrize("key", [0, 7, -1, -(10**6), 2**63 - 1])
def test_a_key_is_its_number_whatever_its_type(key):
    own = np.int64(key)
    assert stream(own, "a") == stream(key, "a")
    rows = np.arange(5)
    assert np.array_equal(normals(own, "a", rows, 3, 1.0), normals(key, "a", rows, 3, 1.0))
    assert np.array_equal(order(own, "a", rows), order(key, "a", rows))


def test_a_key_that_is_no_whole_number_is_refused():
    with pytest.raises(TypeError):
        stream(0.5, "a")
