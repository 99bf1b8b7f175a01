"""`storelift analyze` and `storelift power`: files in, documents out, and what is refused by name."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from experiment.analyze.document import analyze, parse_weights
from experiment.analyze.input import read_users
from experiment.analyze.power_plan import PowerQuestion, answer
from experiment.cli import app
from experiment.errors import BadInput
from experiment.stats.comparison import compare
from experiment.stats.moments import Moments

ARMS = ("wide", "deep", "wide_deep")


def table(seed=1, n=600, days=None):
    """Users' rows as columns; with `days`, rows of the user-days on which they came."""
    rng = np.random.default_rng(seed)
    own = rng.beta(0.6, 9, n)
    py = rng.poisson(20, n)
    columns = {
        "user_id": np.array([f"u{i}" for i in range(n)]),
        "arm": np.array(ARMS)[rng.integers(0, 3, n)],
        "pre_impressions": py,
        "pre_installs": rng.binomial(py, own),
        "country": np.array(["de", "fr", "it"])[rng.integers(0, 3, n)],
    }
    if days:
        came = np.flatnonzero(rng.random(n * days) < 0.4)
        columns = {name: c[came // days] for name, c in columns.items()}
        columns["day"] = came % days + 1
        own = own[came // days]
    y = rng.poisson(15, len(own))
    return columns | {"impressions": y, "installs": rng.binomial(y, own)}


def write(path, columns):
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: pa.array(c) for name, c in columns.items()}), path)
    else:
        rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(rows) + "\n")
    return path


def moments(columns, arm, pre=True):
    """An arm's statistics straight from the rows, a user's rows added, pre columns taken once per user."""
    totals = {}
    for row in range(len(columns["arm"])):
        if columns["arm"][row] == arm:
            x, y, *_ = totals.get(columns["user_id"][row], (0, 0))
            totals[columns["user_id"][row]] = (
                x + columns["installs"][row],
                y + columns["impressions"][row],
                columns["pre_installs"][row],
                columns["pre_impressions"][row],
            )
    return Moments.from_users(*np.array(list(totals.values())).T[: 4 if pre else 2])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_document_is_that_of_the_rows(tmp_path, suffix):
    columns = table()
    found = analyze(write(tmp_path / f"users{suffix}", columns), control="wide")
    assert list(found["arms"]) == ["wide", "deep", "wide_deep"]
    for comparison in found["comparisons"]:
        direct = compare(moments(columns, "wide"), moments(columns, comparison["arm"]))
        assert comparison["p_value"] == pytest.approx(direct.p_value, rel=1e-9)
        assert comparison["lift_ci"] == pytest.approx(direct.lift_ci, rel=1e-9)
        assert comparison["always_valid_ci"] == pytest.approx(direct.always_valid_ci, rel=1e-9)
        assert comparison["cuped"]["lift"] == pytest.approx(direct.cuped.lift, rel=1e-9)
        assert comparison["cuped"]["variance_ratio"] == pytest.approx(direct.cuped.variance_ratio, rel=1e-9)
    assert found["days"] == []
    assert found["excluded"] == {}
    mine = columns["arm"] == "deep"
    assert found["arms"]["deep"]["users"] == mine.sum()
    assert found["arms"]["deep"]["impressions"] == columns["impressions"][mine].sum()
    assert found["arms"]["deep"]["acquisitions"] == columns["installs"][mine].sum()


def test_the_json_has_the_contracts_names(tmp_path):
    path = write(tmp_path / "users.csv", table(days=4))
    result = CliRunner().invoke(app, ["analyze", str(path), "--control", "wide", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {"arms", "comparisons", "srm", "days"} <= set(found)
    assert set(found["arms"]["wide"]) == {"users", "impressions", "acquisitions", "rate", "rate_se"}
    names = (
        "arm control difference difference_se p_value lift lift_ci lift_fieller_ci p_holm always_valid_p"
        " always_valid_ci always_valid_lift_ci cuped status"
    )
    assert set(names.split()) <= set(found["comparisons"][0])
    names = "theta difference difference_se lift lift_ci p_value variance_ratio"
    assert set(names.split()) <= set(found["comparisons"][0]["cuped"])
    assert {"chi2", "df", "p_value", "alarm"} <= set(found["srm"])
    names = "day arm control difference difference_se always_valid_p always_valid_ci"
    assert set(names.split()) <= set(found["days"][0])
    assert [(d["day"], d["arm"]) for d in found["days"][:3]] == [(1, "deep"), (1, "wide_deep"), (2, "deep")]


def test_days_accumulate_over_the_users_seen_so_far(tmp_path):
    columns = table(2, 300, days=5)
    data = read_users(write(tmp_path / "users.parquet", columns))
    assert data.days == [1, 2, 3, 4, 5]
    for day in data.days:
        until = {name: c[columns["day"] <= day] for name, c in columns.items()}
        for arm in ARMS:
            direct, cell = moments(until, arm), data.arms[arm][day - 1]
            assert cell.n == direct.n
            assert cell.total == pytest.approx(direct.total)
            assert cell.scatter == pytest.approx(direct.scatter, rel=1e-9)


def test_days_may_be_dates(tmp_path):
    columns = table(3, 100, days=3)
    columns["day"] = np.array([f"2026-03-{d:02d}" for d in columns["day"]])
    assert read_users(write(tmp_path / "users.csv", columns)).days == [
        "2026-03-01",
        "2026-03-02",
        "2026-03-03",
    ]


def test_row_order_relabelled_users_and_split_rows_change_nothing(tmp_path):
    columns = table(4)
    rng = np.random.default_rng(5)
    order = rng.permutation(600)
    mixed = {name: c[order] for name, c in columns.items()}
    relabelled = columns | {"user_id": np.arange(600)[::-1] + 10**12}
    half = {name: columns[name] // 2 for name in ("impressions", "pre_impressions")}
    half["installs"] = np.minimum(columns["installs"], half["impressions"])
    half["pre_installs"] = np.minimum(columns["pre_installs"], half["pre_impressions"])
    rest = {name: columns[name] - half[name] for name in half}
    keep = (rest["installs"] <= rest["impressions"]) & (rest["pre_installs"] <= rest["pre_impressions"])
    assert keep.all()
    split = {name: np.concatenate([half.get(name, c), rest.get(name, c)]) for name, c in columns.items()}
    first = analyze(write(tmp_path / "a.csv", columns), control="wide")
    for i, other in enumerate((mixed, relabelled, split)):
        found = analyze(write(tmp_path / f"b{i}.parquet", other), control="wide")
        for name in ("arms", "comparisons", "srm", "secondary", "guardrails"):
            assert found[name] == first[name], name


def test_a_sample_ratio_of_one_arm_is_undefined(tmp_path):
    columns = {name: values[:1] for name, values in table(2).items()}
    path = write(tmp_path / "one.csv", columns)
    ratio = analyze(path, control=str(columns["arm"][0]))["srm"]
    assert ratio["p_value"] is None
    assert ratio["sequential_p_value"] is None
    assert ratio["sequential_alarm"] is False


def test_an_arm_of_the_weights_without_rows_has_no_users(tmp_path):
    path = write(tmp_path / "users.csv", table())
    found = analyze(path, control="wide", weights={"wide": 1, "deep": 1, "wide_deep": 1, "new": 1, "off": 0})
    assert found["arms"]["new"]["users"] == 0
    assert found["srm"]["df"] == 3
    assert found["srm"]["alarm"]
    assert [c["status"] for c in found["comparisons"]] == ["ok", "ok", "no_users", "no_users"]
    assert found["comparisons"][0]["p_holm"] is not None


def test_a_user_without_impressions_counts(tmp_path):
    text = "user_id,arm,impressions,acquisitions\n1,a,0,0\n2,a,10,1\n3,a,9,2\n4,b,8,1\n5,b,12,3\n"
    (tmp_path / "users.csv").write_text(text)
    found = analyze(tmp_path / "users.csv", control="a")
    assert found["arms"]["a"]["users"] == 3
    direct = compare(Moments.from_users([0, 1, 2], [0, 10, 9]), Moments.from_users([1, 3], [8, 12]))
    assert found["comparisons"][0]["difference_se"] == pytest.approx(direct.difference_se)
    assert found["comparisons"][0]["cuped"] is None


def test_counts_of_1e9_keep_their_variance(tmp_path):
    rng = np.random.default_rng(6)
    columns = {"user_id": np.arange(400), "arm": np.array(["a", "b"])[np.arange(400) % 2]}
    columns["impressions"] = 10**9 + rng.integers(0, 1000, 400)
    columns["installs"] = 10**8 + rng.integers(0, 1000, 400)
    for name in ("users.csv", "users.parquet"):
        data = read_users(write(tmp_path / name, columns))
        mine = columns["arm"] == "b"
        direct = Moments.from_users(columns["installs"][mine], columns["impressions"][mine])
        assert data.arms["b"].scatter == pytest.approx(direct.scatter, rel=1e-9)


def test_segments_are_an_exploratory_family(tmp_path):
    columns = table(7)
    found = analyze(write(tmp_path / "users.parquet", columns), control="wide", by=["country"])["segments"]
    assert len(found) == 6
    assert all(row["exploratory"] for row in found)
    german = {name: c[columns["country"] == "de"] for name, c in columns.items()}
    direct = compare(moments(german, "wide"), moments(german, "deep"))
    row = next(r for r in found if (r["value"], r["arm"]) == ("de", "deep"))
    assert row["p_value"] == pytest.approx(direct.p_value, rel=1e-9)
    assert all(r["p_bh"] >= r["p_value"] for r in found)
    assert max(r["p_bh"] for r in found) == pytest.approx(max(r["p_value"] for r in found))


def test_segments_of_user_days_are_those_of_the_users(tmp_path):
    columns = table(8, 200, days=4)
    data = read_users(write(tmp_path / "users.csv", columns), by=["country"])
    merged = sum((data.segments["country", c]["deep"] for c in ("de", "fr", "it")), Moments.empty(pre=True))
    assert merged.scatter == pytest.approx(data.arms["deep"][-1].scatter, rel=1e-9)


HEAD = "user_id,arm,impressions,installs"
GOOD = "u1,a,10,1\nu2,b,12,2"
REFUSED = [
    ("", "users.csv: got an empty file, a header and at least one row are allowed"),
    (HEAD + "\n", "users.csv: got no rows, at least one is allowed"),
    (
        "user_id,arm,installs\nu,a,1\n",
        "impressions: got no such column in user_id, arm, installs; it is needed",
    ),
    (
        "user_id,arm,impressions\nu,a,1\n",
        "installs: got no such column in user_id, arm, impressions; it, or acquisitions, is needed",
    ),
    (
        HEAD + ",acquisitions\nu,a,1,1,1\n",
        "installs, acquisitions: got both columns, one of them is allowed",
    ),
    (
        HEAD + ",pre_installs\nu,a,1,1,1\n",
        "pre_impressions: got no such column beside pre_installs; both or neither are allowed",
    ),
    (
        f"{HEAD}\n{GOOD}\nu3,a,9,x\n",
        "installs: got x in row 3 (user u3), whole numbers from 0 to 1e12 are allowed",
    ),
    (
        f"{HEAD}\n{GOOD}\nu3,a,9,nan\n",
        "installs: got nan in row 3 (user u3), whole numbers from 0 to 1e12 are allowed",
    ),
    (
        f"{HEAD}\n{GOOD}\nu3,a,,1\n",
        "impressions: got nothing in row 3 (user u3), whole numbers from 0 to 1e12 are allowed",
    ),
    (
        f"{HEAD}\nu3,a,9,-1\n{GOOD}\n",
        "installs: got -1 in row 1 (user u3), whole numbers from 0 to 1e12 are allowed",
    ),
    (
        f"{HEAD}\n{GOOD}\nu3,a,9.5,1\n",
        "impressions: got 9.5 in row 3 (user u3), whole numbers from 0 to 1e12 are allowed",
    ),
    (
        f"{HEAD}\n{GOOD}\nu3,a,inf,1\n",
        "impressions: got inf in row 3 (user u3), whole numbers from 0 to 1e12 are allowed",
    ),
    (
        f"{HEAD}\n{GOOD}\nu3,a,1e13,1\n",
        "impressions: got 1e13 in row 3 (user u3), whole numbers from 0 to 1e12 are allowed",
    ),
    (
        f"{HEAD}\n{GOOD}\nu3,a,9,10\n",
        "installs: got 10 in row 3 (user u3), at most the row's impressions is allowed",
    ),
    (
        f"{HEAD}\n{GOOD}\n,a,9,1\n",
        "user_id: got nothing in row 3 (user None), a value in each row is allowed",
    ),
    (f"{HEAD}\n{GOOD}\nu3,,9,1\n", "arm: got nothing in row 3 (user u3), a value in each row is allowed"),
    (f"{HEAD}\n{GOOD}\nu1,b,9,1\n", "arm: got a and b for user u1, one value per user is allowed"),
    (
        f"{HEAD},day\nu1,a,9,1,1\nu2,b,9,1,later\n",
        "day: got later in row 2 (user u2), whole numbers or dates are allowed",
    ),
    (
        f"{HEAD},day,pre_installs,pre_impressions\nu1,a,9,1,1,1,5\nu1,a,9,1,2,2,5\nu2,b,9,1,1,1,5\n",
        "pre_installs: got 1 and 2 for user u1, one value per user is allowed",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_file_that_makes_no_sense_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "users.csv"
    path.write_text(text)
    result = CliRunner().invoke(app, ["analyze", str(path), "--control", "a", "--json"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "installs",
            [1.0, float("nan")],
            "installs: got nan in row 2 (user 2), whole numbers from 0 to 1e12",
        ),
        ("installs", [1, None], "installs: got nothing in row 2 (user 2), whole numbers from 0 to 1e12"),
        ("impressions", [True, False], "impressions: got type BOOLEAN, whole numbers are allowed"),
        ("user_id", [1.0, 2.0], "user_id: got type DOUBLE, whole numbers or text are allowed"),
        ("day", [1.5, 2.0], "day: got type DOUBLE, whole numbers or dates are allowed"),
    ],
)
def test_a_parquet_file_that_makes_no_sense_is_refused_by_name(tmp_path, column, values, message):
    columns = {"user_id": [1, 2], "arm": ["a", "b"], "impressions": [5, 6], "installs": [1, 1]} | {
        column: values
    }
    with pytest.raises(BadInput) as error:
        read_users(write(tmp_path / "users.parquet", columns))
    assert str(error.value).startswith(message)


def test_a_file_that_is_something_else_is_refused(tmp_path):
    (tmp_path / "users.parquet").write_text("not parquet")
    (tmp_path / "users.xlsx").write_text("x")
    for path, start in [
        (tmp_path / "users.parquet", "users.parquet: got "),
        (tmp_path / "users.xlsx", "users.xlsx: got a file ending in '.xlsx', .csv and .parquet are allowed"),
        (tmp_path / "nowhere.csv", f"{tmp_path / 'nowhere.csv'}: got no such file"),
        (tmp_path, f"{tmp_path}: got no such file"),
    ]:
        with pytest.raises(BadInput) as error:
            read_users(path)
        assert str(error.value).startswith(start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--control", "x"], "control: got 'x', one of deep, wide, wide_deep is allowed"),
        (["--control", "wide", "--alpha", "2"], "alpha: got 2.0, numbers above 0 and below 1 are allowed"),
        (
            ["--control", "wide", "--planned-users", "0"],
            "planned-users: got 0.0, numbers above 0 are allowed",
        ),
        (
            ["--control", "wide", "--by", "age"],
            "by: got 'age', one of the other columns is allowed (country)",
        ),
        (
            ["--control", "wide", "--by", "arm"],
            "by: got 'arm', one of the other columns is allowed (country)",
        ),
        (
            ["--control", "wide", "--weights", "wide=1,deep=1"],
            "weights: got none for arm 'wide_deep' of the file, one for each arm is allowed",
        ),
        (
            ["--control", "wide", "--weights", "wide=1,deep"],
            "weights: got 'deep', ARM=NUMBER from 0, joined by commas, is allowed",
        ),
    ],
)
def test_options_that_make_no_sense_are_named(tmp_path, options, message):
    path = write(tmp_path / "users.csv", table(n=60))
    result = CliRunner().invoke(app, ["analyze", str(path), *options])
    assert result.exit_code == 2
    assert message in result.stderr


def test_weights_are_parsed_or_refused():
    assert parse_weights("a=1, b=0.5") == {"a": 1.0, "b": 0.5}
    assert parse_weights("a=b=1") == {"a=b": 1.0}
    for text in ("a=-1", "a=nan", "=1", "a=0", "a=1,a=2", ""):
        with pytest.raises(BadInput, match=r"^weights: got "):
            parse_weights(text)


def test_bad_rows_can_be_set_apart_with_all_of_their_users(tmp_path):
    path = tmp_path / "users.csv"
    path.write_text(f"{HEAD}\n{GOOD}\nu3,a,9,-1\nu3,a,9,1\nu4,b,3,x\n,b,3,1\nu5,a,7,2\nu6,b,8,0\n")
    found = analyze(path, control="a", set_apart=True)
    assert found["excluded"] == {
        "installs negative": 1,
        "installs not a number": 1,
        "other rows of users set apart": 1,
        "user_id missing": 1,
    }
    assert (found["arms"]["a"]["users"], found["arms"]["b"]["users"]) == (2, 2)


def test_hostile_names_are_only_names(tmp_path):
    text = 'user_id,arm,impressions,installs,"by ""x\';--",code,row,reason\n'
    text += "u'1,a';--,10,1,q,1,1,1\nu2,[b],9,2,r,2,2,2\nu3,[b],9,1,q,3,3,3\nu4,a';--,9,0,r,4,4,4\n"
    path = tmp_path / "it's [a]*.csv"
    path.write_text(text)
    found = analyze(path, control="a';--", by=["by \"x';--", "code", "row"])
    assert found["comparisons"][0]["arm"] == "[b]"
    assert len(found["segments"]) == 10
    result = CliRunner().invoke(app, ["analyze", str(path), "--control", "a';--", "--by", "code"])
    assert result.exit_code == 0, result.output
    assert "[b]" in result.stdout


def test_ids_with_leading_zeros_are_different_users(tmp_path):
    path = tmp_path / "users.csv"
    path.write_text(f"{HEAD}\n007,a,5,1\n7,b,5,1\n0070,a,5,2\n")
    assert analyze(path, control="a")["arms"]["a"]["users"] == 2


def test_the_table_reads_well(tmp_path):
    path = write(tmp_path / "users.csv", table(days=3))
    result = CliRunner().invoke(app, ["analyze", str(path), "--control", "wide", "--by", "country"])
    assert result.exit_code == 0, result.output
    for words in (
        "Acquisition rate against wide",
        "95% interval",
        "Sample ratio",
        "exploratory",
        "Guardrail",
    ):
        assert words in result.stdout


def test_power_from_figures_and_from_a_file(tmp_path):
    arguments = "power --rate 0.057 --impressions 20 --design-effect 1.462 --lift 0.039 --users 12481 --json"
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["users_needed"] == pytest.approx(12481, rel=0.001)
    assert found["power"] == pytest.approx(0.8, abs=0.001)
    assert found["mde"] == pytest.approx(0.039, rel=0.001)
    path = write(tmp_path / "users.csv", table(days=5))
    found = answer(PowerQuestion(source=path, control="wide", lift=0.05))
    assert found["days_seen"] == 5
    assert found["mde"] > 0.05
    many = answer(PowerQuestion(source=path, control="wide", lift=0.05, users=10_000_000))
    assert many["mde"] < 0.05
    assert many["days_left"] == 0  # of so many users, not of the file's
    words = CliRunner().invoke(app, ["power", "--from", str(path), "--control", "wide", "--lift", "0.3"])
    assert "impressions per user" in words.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--impressions 20", "rate: got nothing; it, or --from with a file, is needed"),
        ("--rate 0.1 --impressions 5", "users, lift: got neither, at least one is needed"),
        ("--rate 2 --impressions 5", "rate: got 2.0, numbers above 0 and below 1 are allowed"),
        ("--rate 0.1 --impressions 0", "impressions: got 0.0, numbers above 0 are allowed"),
        ("--rate 0.1 --impressions 5 --lift 0", "lift: got 0.0, numbers above -1 other than 0 are allowed"),
        ("--power 0.01", "power: got 0.01, numbers above alpha (0.05) and below 1 are allowed"),
    ],
)
def test_power_names_what_makes_no_sense(arguments, message):
    result = CliRunner().invoke(app, ["power", *arguments.split()])
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.slow
def test_ten_million_users_are_counted(tmp_path):
    rng = np.random.default_rng(9)
    n = 10_000_000
    y = rng.poisson(20, n)
    columns = {"user_id": rng.permutation(n), "arm": np.array(ARMS)[rng.integers(0, 3, n)], "impressions": y}
    path = write(tmp_path / "users.parquet", columns | {"installs": rng.binomial(y, 0.057)})
    arms = analyze(path, control="wide")["arms"]
    assert sum(arm["users"] for arm in arms.values()) == n
    assert sum(arm["impressions"] for arm in arms.values()) == y.sum()
