import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment import toml
from experiment.config import Config, parse, validate
from experiment.errors import BadInput
from experiment.loading import load, presets
from experiment.rankers import arm_order
from experiment.settings import (
    ArmSettings,
    ExperimentSettings,
    FaultSettings,
    GateSettings,
    ProductionSettings,
    RunSettings,
)

KINDS = "wide, deep, wide_deep, ensemble, fm, random, popularity, oracle"


def refusal(*arguments: object, **options: object) -> list[str]:
    with pytest.raises(BadInput) as error:
        load(*arguments, **options)  # type: ignore[arg-type]
    return str(error.value).splitlines()


def test_presets_hold_what_is_said_of_them() -> None:
    assert presets()[0] == "quick"
    assert {"tiny", "quick", "standard", "paper", "aa", "planet"} <= set(presets())
    quick = load()
    assert (quick.preset, quick.experiment.days, quick.users.population) == ("quick", 7, 1_000_000)
    assert list(quick.arms) == ["wide", "deep", "wide_deep"]
    assert load("standard").experiment.days == load("paper").experiment.days == 21
    assert load("paper").users.population == 5_000_000
    planet = load("planet")
    assert (planet.users.population, planet.world.apps) == (10**9, 10**6)
    assert {arm: round(share * planet.users.population) for arm, share in planet.shares().items()} == {
        "wide": 100_000, "deep": 100_000, "wide_deep": 100_000
    }  # fmt: skip
    aa = load("aa")
    assert (aa.experiment.identical_models, aa.experiment.training) == (True, "all")
    assert len({(arm.kind, str(arm.settings)) for arm in aa.arms.values()}) == 1


@pytest.mark.parametrize("name", presets())
def test_a_written_configuration_reads_back_equal(name: str) -> None:
    config = load(
        name, ["world.drift=0.05", "faults.stale_vocabulary=2", "faults.arm=" + next(iter(load(name).arms))]
    )
    assert parse(config.to_toml()) == config
    assert parse(config.to_toml()).config_hash() == config.config_hash()


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    world = "[world]\ndrift = 0.1\nturnover = 0.2\n"
    file.write_text(f'preset = "tiny"\nseed = 3\n{world}[arms.deep]\n[arms.wide]\nshare = 0.02\n')
    config = load(file=file, overrides=["world.drift=0.05"], seed=7)
    assert (config.preset, config.seed, config.world.apps) == ("tiny", 7, 800)
    assert (config.world.drift, config.world.turnover) == (0.05, 0.2)
    assert config.shares() == {"wide": 0.02, "deep": 0.01}


@pytest.mark.parametrize(
    "overrides",
    [["world.drift=.05"], ["world.drift = 0.05"], {"world.drift": 0.05}, {"world": {"drift": 0.05}}],
)
def test_an_override_may_be_text_or_data(overrides: object) -> None:
    config = load("tiny", overrides)  # type: ignore[arg-type]
    assert (config.world.drift, config.world.apps) == (0.05, 800)


def test_a_bare_word_is_text() -> None:
    assert load("tiny", ["experiment.control=deep", "experiment.salt='a b'"]).experiment.control == "deep"


def test_the_order_of_arms_never_matters() -> None:
    own = {"mine": "simulator.oracle:Oracle", "able": "simulator.oracle:Oracle"}
    one = load("tiny", arms="wide_deep,random,wide", rankers=own)
    two = load("tiny", arms=["wide", "random", "wide_deep", "able"], rankers=own)
    assert list(one.arms) == ["wide", "wide_deep", "random", "able", "mine"]
    assert one == two
    assert one.config_hash() == two.config_hash()
    assert arm_order(["z", "oracle", "a", "deep"]) == ["deep", "oracle", "a", "z"]


def test_how_the_work_is_spread_is_not_part_of_the_hash() -> None:
    assert (
        load("tiny", workers=1).config_hash() == load("tiny", ["run.shard_users=7"], workers=4).config_hash()
    )
    assert load("tiny", seed=1).config_hash() != load("tiny", seed=2).config_hash()


def test_settings_of_a_ranker_are_completed() -> None:
    arm = load("tiny", ["arms.deep.settings.deep.hidden=[8, 4]"]).arms["deep"]
    assert arm.settings["deep"]["hidden"] == [8, 4]
    assert arm.settings["deep"]["embedding_dim"] == 16


WRONG = {
    "world.drift=-1": "got -1, allowed: a number from 0 to 1",
    "world.drift=nan": "got nan, allowed: a number from 0 to 1",
    "world.drift=fast": "got 'fast', allowed: a number from 0 to 1",
    "world.apps=1e3": "got 1000.0, allowed: a whole number from 200 to 10,000,000",
    "world.apps=true": "got true, allowed: a whole number from 200 to 10,000,000",
    "experiment.bucket_share=1.5": "got 1.5, allowed: a number more than 0, at most 1",
    "experiment.bucket_share=0.4": "got share 0.4, allowed: at most 0.333333 with 3 slots",
    "experiment.bucket_share=1e-7": "got a share without a single user, allowed: at least 3.33333e-05",
    "arms.deep.share=0.5": "got share 0.5, allowed: at most 0.333333 with 3 slots",
    "production.share=0.9": "got share 0.9, allowed: at most 0.865",
    "experiment.days=0": "got 0, allowed: a whole number from 1 to 10,000",
    "experiment.stop_when=now": "got 'now', allowed: 'never' or 'decided'",
    "experiment.control=fm": "got 'fm', allowed: wide, deep, wide_deep",
    "experiment.shown=101": "got 101, allowed: a whole number from 1 to 100",
    "faults.arm=fm": "got 'fm', allowed: wide, deep, wide_deep",
    "faults.nan_weights_on_day=0": "got 0, allowed: a whole number at least 1",
    "faults.stale_vocabulary='no'": "got 'no', allowed: true or false or a whole number",
    "production.bootstrap_days=3": "got 3, allowed: less than experiment.pre_days = 3",
    "production.settings.wide.l1=-1": "got -1, allowed: a number from 0 to 1e+06",
    "gate=3": "got 3, allowed: a table",
    "arms.wide.kind=wid": f"got 'wid', allowed: {KINDS} or module:Class (did you mean wide?)",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_setting_is_named_with_what_was_got_and_what_is_allowed(override: str) -> None:
    assert refusal("tiny", [override]) == [f"{override.partition('=')[0]}: {WRONG[override]}"]


def test_wrong_settings_whose_path_is_another() -> None:
    assert refusal("tiny", ["users.installed_min=30"]) == [
        "users: installed_min, installed_max, installed_capacity must ascend, got 30, 24, 48"
    ]
    assert refusal("tiny", ["retrieval.candidates=10", "experiment.shown=20"]) == [
        "experiment.shown: got 20, allowed: at most retrieval.candidates = 10"
    ]
    assert refusal("tiny", ["seed.x=2"]) == [
        "seed: got a table, allowed: a whole number at least 0, less than 9,223,372,036,854,775,808"
    ]
    assert refusal("tiny", ["nothing"]) == [
        "set: got 'nothing', allowed: path=value, for example world.drift=0.05"
    ]
    assert refusal("tiny", ["experiment.identical_models=true", "experiment.training=all"]) == [
        "experiment.identical_models: got arms that differ, allowed: one kind and settings"
    ]
    assert refusal("tiny", ["arms.production.kind=wide"]) == [
        "arms.production: got an arm of this name, allowed: any other name"
    ]
    assert refusal("tiny", ["arms.Big.kind=wide"]) == [
        "arms.Big: got 'Big', allowed: a name of small letters, digits and _, at most 32, a letter first"
    ]
    assert refusal("tiny", ["arms.deep.settings.deep.hidden=[8, 'a']"]) == [
        "arms.deep.settings.deep.hidden.1: got 'a', allowed: input should be a valid integer"
    ]


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    keys = "preset, seed, world, users, retrieval, production, experiment, arms, gate, faults, run"
    assert refusal("tiny", ["sed=1"]) == [f"sed: got an unknown key, allowed: {keys} (did you mean seed?)"]
    gate = (
        "enabled, holdout_share, auc_margin, log_loss_margin, alpha, calibration_min, calibration_max, "
        "score_limit, memory_limit, latency_limit"
    )
    assert refusal("tiny", ["gate.x.y=3"]) == [f"gate.x: got an unknown key, allowed: {gate}"]
    (line,) = refusal("tiny", ["arms.deep.settings.deep.hiden=[8]"])
    assert line.startswith(
        "arms.deep.settings.deep.hiden: got an unknown key, allowed: embedding_dim, hidden,"
    )
    assert line.endswith("(did you mean hidden?)")
    (line,) = refusal("tiny", {'wor"ld\n': 1})
    assert line.startswith('"wor\\"ld\\n": got an unknown key')


def test_everything_wrong_is_said_at_once() -> None:
    lines = refusal(
        "tiny", ["world.drift=-1", "users.countries=0", "arms.deep.settings.x=1", "arms.wide.kind=a", "b=1"]
    )
    assert [line.split(":")[0] for line in lines] == [
        "world.drift", "users.countries", "arms.wide.kind", "arms.deep.settings.x", "b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": "wide,deep,wide"}, "arms: got 'wide' 2 times, allowed: once"),
        ({"arms": "wide,deap"}, f"arms: got 'deap', allowed: {KINDS} (did you mean deep?)"),
        ({"arms": ""}, f"arms: got '', allowed: {KINDS}"),
        ({"arms": "deep,wide_deep"}, "experiment.control: got 'wide', allowed: deep, wide_deep"),
        ({"arms": "wide,deep", "overrides": ["arms.fm.kind=fm"]},
         "arms.fm.kind: got an arm that takes no part, allowed: wide, deep"),
        ({"rankers": {"mine": "simulator.schema:UNIT"}},
         "arms.mine.kind: got 'simulator.schema:UNIT', which is no class"),
        ({"executor": "dask"}, "run.executor: got 'dask', allowed: 'local' or 'ray'"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_named(options: dict[str, object], message: str) -> None:
    assert refusal("tiny", **options) == [message]


def test_a_class_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_ranker.py").write_text("1 / 0")
    for path, cause in (
        ("nosuch:C", "nosuch cannot be imported (No module named 'nosuch')"),
        ("broken_ranker:C", "importing it failed (ZeroDivisionError: division by zero)"),
    ):
        assert refusal("tiny", rankers={"mine": path}) == [f"arms.mine.kind: got {path!r}, but {cause}"]


def test_the_kinds_are_those_of_the_registry() -> None:
    from models import registry

    assert set(KINDS.split(", ")) == {*registry.kinds, "oracle"}


def test_an_unknown_preset_is_named() -> None:
    assert refusal("quikc") == [f"preset: got 'quikc', allowed: {', '.join(presets())} (did you mean quick?)"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (line,) = refusal(file=tmp_path / "none.toml")
    assert line.startswith(f"config: got {tmp_path}/none.toml, allowed: a readable TOML file (")
    (tmp_path / "bad.toml").write_text("a = ")
    (line,) = refusal(file=tmp_path / "bad.toml")
    assert line.startswith(f"config: got {tmp_path}/bad.toml, allowed: TOML (")
    (tmp_path / "arms.toml").write_text("arms = 3")
    assert refusal(file=tmp_path / "arms.toml") == ["arms: got 3, allowed: a table"]


def test_arms_of_one_kind_may_serve_one_model() -> None:
    assert refusal("aa", ["experiment.training=own"]) == [
        "experiment.training: got 'own', allowed: 'all' with experiment.identical_models"
    ]


def test_days_of_the_experiment_begin_at_one() -> None:
    config = load("tiny")
    assert list(config.pre_days()) == [-2, -1, 0]
    assert list(config.days()) == [1, 2, 3]


def test_every_setting_of_the_experiment_is_described() -> None:
    schema = Config.model_json_schema()
    for table in (
        ProductionSettings,
        ExperimentSettings,
        ArmSettings,
        GateSettings,
        FaultSettings,
        RunSettings,
    ):
        for key, field in schema["$defs"][table.__name__]["properties"].items():
            assert field.get("description"), f"{table.__name__}.{key}"


PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(), PLAIN, max_size=5))
def test_any_plain_data_survives_toml(data: dict[str, object]) -> None:
    assert tomllib.loads(toml.dumps(data)) == data


def test_what_toml_cannot_say_is_refused() -> None:
    with pytest.raises(
        TypeError, match="TOML: got b'x' of bytes, allowed: bool, int, float, str, list, dict"
    ):
        toml.dumps({"a": b"x"})


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["seed", "world", "arms", "gate", "x"]), PLAIN, max_size=5))
def test_any_data_is_taken_or_refused_in_lines(data: dict[str, object]) -> None:
    try:
        validate(data)
        lines = []
    except BadInput as error:
        lines = str(error).splitlines()
    assert all(": " in line for line in lines)
