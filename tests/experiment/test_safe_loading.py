"""What others wrote is read without running it, without believing its sizes, and without ever a traceback."""

import ast
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiment.config import parse
from experiment.errors import BadInput
from experiment.folder.atomic import TornError, read_sealed, write_sealed
from experiment.folder.manifest import Manifest, RunFolderError
from experiment.folder.paths import RunPaths
from experiment.loading import load
from experiment.server.input import BadBodyError, RankInput
from experiment.worlds import world_of

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file
    for name in ("simulator", "models", "experiment", "dashboard")
    for file in (ROOT / name).rglob("*.py")
)
RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}
FORBIDDEN = {"eval", "exec"}
LOADERS = {
    ("torch", "load"),
    ("np", "load"),
    ("numpy", "load"),
    ("pd", "read_pickle"),
    ("pandas", "read_pickle"),
}

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_nothing_that_could_run_what_it_reads(file):
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & RUNS_CODE
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in RUNS_CODE
        elif isinstance(node, ast.Call):
            called = node.func
            assert not (isinstance(called, ast.Name) and called.id in FORBIDDEN)
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                assert (called.value.id, called.attr) not in LOADERS
            assert all(word.arg not in ("allow_pickle", "trust_remote_code") for word in node.keywords)


def refusal(kind, read, *arguments):
    """What the error of `kind` says that `read` raises; None if it raises nothing. Any other error is one."""
    try:
        read(*arguments)
    except kind as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def valid():
    return load("tiny").to_toml()


@few
@given(st.data())
def test_a_broken_configuration_is_bad_input(valid, data):
    at = data.draw(st.integers(0, len(valid)))
    stop = data.draw(st.integers(at, min(len(valid), at + 40)))
    text = valid[:at] + data.draw(st.text(max_size=12)) + valid[stop:]
    said = refusal(BadInput, parse, text)
    assert said is None or "allowed" in said


@pytest.mark.parametrize("value", ["1" * 5000, "0x" + "f" * 5000, "[" * 5000, "-" + "9" * 5000])
def test_a_number_of_too_many_digits_is_bad_input(tmp_path, value):
    (tmp_path / "config.toml").write_text(f"seed = {value}\n")
    assert "allowed" in refusal(BadInput, parse, f"seed = {value}")
    assert "allowed" in refusal(BadInput, lambda: load(file=tmp_path / "config.toml"))


def test_a_share_whose_inverse_is_infinite_is_bad_input():
    said = refusal(BadInput, load, "tiny", ["experiment.bucket_share=1e-320"])
    assert said.startswith("experiment.bucket_share: got a share without a single user, allowed: at least ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@few
@given(
    st.dictionaries(
        st.sampled_from(["format", "config_hash", "finished_day", "complete", "log_from_day", "artefacts"]),
        json_values,
    )
)
def test_a_manifest_of_anything_is_refused(tmp_path, document):
    write_sealed(tmp_path / "manifest.json", {"format": 3, **document})
    said = refusal(RunFolderError, Manifest.read, tmp_path)
    assert said is None or str(tmp_path) in said


@pytest.mark.parametrize("size", [float("inf"), float("nan"), "x", None, [1]])
def test_a_size_that_is_none_is_refused(tmp_path, size):
    artefacts = {"config.toml": {"size": size, "sha256": "0"}}
    whole = {"format": 3, "config_hash": "0", "finished_day": 1, "complete": True, "artefacts": artefacts}
    write_sealed(tmp_path / "manifest.json", whole)
    assert "got no manifest" in refusal(RunFolderError, Manifest.read, tmp_path)


@few
@given(st.binary(max_size=200))
def test_a_sealed_file_of_any_bytes_is_torn(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(TornError):
        read_sealed(tmp_path / "x.json")


def test_json_that_is_too_deep_is_torn(tmp_path):
    (tmp_path / "x.json").write_bytes(b"[" * 200_000)
    with pytest.raises(TornError):
        read_sealed(tmp_path / "x.json")


@pytest.fixture(scope="module")
def reader():
    config = load("tiny")
    return RankInput(world_of(config).cardinalities, config.world.apps, 48, config.users.population)


@few
@given(
    st.binary(max_size=100)
    | st.dictionaries(
        st.sampled_from(["user_id", "user", "candidates", "hour", "day", "top", "other"]), json_values
    ).map(lambda body: json.dumps(body).encode())
)
def test_a_broken_body_is_named(reader, text):
    said = refusal(BadBodyError, reader.parse, text)
    assert said is None or all(": " in line for line in said.split("\n"))


@pytest.mark.parametrize("arm", ["..", "../x", "/etc", "a/b", "A", "", "a" * 300, "a\0b"])
def test_no_name_leads_out_of_the_folder(tmp_path, arm):
    with pytest.raises(ValueError, match="allowed: small letters"):
        RunPaths(tmp_path).model(arm, 1)
