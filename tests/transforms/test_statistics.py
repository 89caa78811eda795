"""StatisticsGen's numbers against DuckDB and NumPy: every type of column, both engines, any sharding and order."""

from __future__ import annotations

import datetime
import decimal
import math
import random

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headrace.transforms.passes import run_pass
from headrace.transforms.row_groups import row_groups
from headrace.transforms.statistics import StatisticsSummarizer, to_proto
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import statistics_pb2

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
SEEDS = st.integers(0, 2**32)

UTC = datetime.UTC
SCHEMA = pa.schema(
    [
        ("flag", pa.bool_()),
        ("small", pa.int16()),
        ("big", pa.int64()),
        ("unsigned", pa.uint32()),
        ("single", pa.float32()),
        ("double", pa.float64()),
        ("price", pa.decimal128(12, 3)),
        ("text", pa.string()),
        ("blob", pa.binary()),
        ("day", pa.date32()),
        ("instant", pa.timestamp("us", "UTC")),
        ("nothing", pa.null()),
        ("tags", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
    ]
)


@st.composite
def tables(draw):
    count = draw(st.integers(0, 12))
    element = {
        "flag": st.booleans(),
        "small": st.integers(-(2**15), 2**15 - 1),
        "big": st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3)),
        "unsigned": st.integers(0, 2**32 - 1),
        "single": st.floats(-1e3, 1e3, width=32),
        "double": st.floats(-1e9, 1e9).map(lambda x: round(x, 6)),
        "price": st.decimals(-1000, 1000, places=3),
        "text": st.text("abzé €", max_size=4),
        "blob": st.binary(max_size=4),
        "day": st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1)),
        "instant": st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1), timezones=st.just(UTC)),
        "nothing": st.none(),
        "tags": st.lists(st.sampled_from("abc"), max_size=3),
        "scores": st.lists(st.floats(-10, 10), max_size=3),
    }
    columns = {
        name: draw(st.lists(st.one_of(st.none(), values), min_size=count, max_size=count))
        for name, values in element.items()
    }
    return pa.table(columns, schema=SCHEMA)


def statistics_of(table, seed=None):
    """The proto of one split; with a seed, in random order and cut and merged at random."""
    summarizer = StatisticsSummarizer(table.schema)
    chance = random.Random(seed)
    pieces = [table]
    if seed is not None:
        order = chance.sample(range(table.num_rows), table.num_rows)
        table = table.take(pa.array(order, pa.int64()))
        cuts = sorted(chance.randint(0, table.num_rows) for _ in range(3))
        pieces = [table.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, table.num_rows])]
    summaries = [summarizer.create()]
    for piece in pieces:
        for batch in piece.combine_chunks().to_batches():
            summaries.append(summarizer.summarize(batch))
    while len(summaries) > 1:
        i = chance.randint(0, len(summaries) - 2)
        summaries[i : i + 2] = [summarizer.merge(summaries[i], summaries[i + 1])]
    return to_proto({"split": summarizer.finish(summaries[0])})


def query(rows, sql):
    """All rows of a query over `rows`."""
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        return connection.execute(sql).fetchall()


def by_name(listed):
    return {feature.path.step[0]: feature for feature in listed.datasets[0].features}


def custom(feature, name):
    [found] = [stat for stat in feature.custom_stats if stat.name == name]
    return found.str or found.num


NUMERIC = {
    "flag": "flag::INT",
    "small": "small",
    "big": "big",
    "unsigned": "unsigned",
    "single": "single",
    "double": "double",
    "price": "price::DOUBLE",
    "day": "day - DATE '1970-01-01'",
    "instant": "epoch_us(instant)",
}


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables(), SEEDS)
def test_numbers_are_duckdbs(rows, seed):
    features = by_name(statistics_of(rows, seed))
    assert list(features) == SCHEMA.names
    for name, expression in NUMERIC.items():
        stats = features[name].num_stats
        count, missing, low, high, mean, std, median, unique, zeros, q1 = query(
            rows,
            f"""SELECT count(x), count(*) - count(x), min(x), max(x), avg(x), stddev_pop(x::DOUBLE), median(x::DOUBLE),
                count(DISTINCT x), count(*) FILTER (x = 0), quantile_cont(x::DOUBLE, 0.25)
                FROM (SELECT {expression} AS x FROM rows)""",
        )[0]
        common = stats.common_stats
        assert (common.num_non_missing, common.num_missing, common.tot_num_values) == (count, missing, count)
        assert custom(features[name], "unique") == unique and stats.num_zeros == zeros
        if count:
            scale = max(abs(float(low)), abs(float(high)), 1e-9)
            assert (stats.min, stats.max) == (float(low), float(high))
            assert stats.mean == pytest.approx(float(mean), abs=scale * 1e-9)
            assert stats.std_dev == pytest.approx(float(std), abs=scale * 1e-7)
            assert stats.median == pytest.approx(median, abs=scale * 1e-9)
            standard, quantiles = stats.histograms
            assert sum(bucket.sample_count for bucket in standard.buckets) == count
            assert quantiles.buckets[4].high_value == pytest.approx(q1, abs=scale * 1e-9)
        else:
            assert not stats.histograms and stats.min == stats.max == 0


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables(), SEEDS)
def test_strings_bytes_and_lists_are_duckdbs(rows, seed):
    features = by_name(statistics_of(rows, seed))
    text = features["text"].string_stats
    unique, average, shortest, longest = query(
        rows, "SELECT count(DISTINCT text), avg(length(text)), min(length(text)), max(length(text)) FROM rows"
    )[0]
    top = query(
        rows, "SELECT text, count(*) AS n FROM rows WHERE text IS NOT NULL GROUP BY text ORDER BY n DESC, encode(text)"
    )
    assert [(value.value, value.frequency) for value in text.top_values] == top[:20]
    assert [(bucket.label, bucket.sample_count) for bucket in text.rank_histogram.buckets] == top
    assert text.unique == unique and text.avg_length == pytest.approx(average or 0)
    if unique:
        assert (custom(features["text"], "min_length"), custom(features["text"], "max_length")) == (shortest, longest)
    blob = features["blob"].bytes_stats
    unique, average, longest = query(
        rows, "SELECT count(DISTINCT blob), avg(octet_length(blob)), max(octet_length(blob)) FROM rows"
    )[0]
    assert (blob.unique, blob.avg_num_bytes, blob.max_num_bytes) == (unique, pytest.approx(average or 0), longest or 0)
    for name, stats in (("tags", features["tags"].string_stats), ("scores", features["scores"].num_stats)):
        missing, low, high, average, total = query(
            rows,
            f"SELECT count(*) - count({name}), min(len({name})), max(len({name})), avg(len({name})), sum(len({name})) "
            "FROM rows",
        )[0]
        common = stats.common_stats
        assert (common.num_missing, common.min_num_values, common.max_num_values, common.tot_num_values) == (
            *(missing, low or 0, high or 0, total or 0),
        )
        assert common.avg_num_values == pytest.approx(average or 0)
    elements = query(rows, "SELECT min(x), max(x) FROM (SELECT unnest(scores) AS x FROM rows)")[0]
    assert (features["scores"].num_stats.min, features["scores"].num_stats.max) == tuple(x or 0 for x in elements)
    nothing = features["nothing"].num_stats.common_stats
    assert (nothing.num_missing, nothing.num_non_missing) == (rows.num_rows, 0)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables(), SEEDS)
def test_statistics_do_not_depend_on_order_and_sharding_at_all_while_exact(rows, seed):
    whole = statistics_of(rows).SerializeToString(deterministic=True)
    assert statistics_of(rows, seed).SerializeToString(deterministic=True) == whole


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """Enough rows and distinct values for every sketch, in three shards."""
    rng = np.random.default_rng(0)
    rows = 150_000
    table = pa.table(
        {
            "id": pa.array(rng.permutation(rows)),
            "value": pa.array(rng.lognormal(size=rows), mask=rng.random(rows) < 0.1),
            "delay": pa.array(rng.exponential(30, rows).round()),
            "carrier": pa.array(rng.choice(["AA", "UA", "DL"], rows)),
            "tail": pa.array([f"N{i}" for i in np.minimum(rng.zipf(1.2, rows), 90_000)]),
        }
    )
    folder = tmp_path_factory.mktemp("big")
    for i in range(3):
        pq.write_table(table.slice(i * 50_000, 50_000), folder / f"{i}.parquet", row_group_size=20_000 + 3_000 * i)
    return table, row_groups(sorted(folder.iterdir()))


def test_both_engines_give_equal_statistics_and_sketches_are_within_their_bounds(big):
    table, groups = big
    summarizer = StatisticsSummarizer(table.schema)
    splits = {"train": groups[:4], "eval": groups[4:], "none": []}
    direct = to_proto(run_pass(splits, summarizer, engine="direct"))
    beam = to_proto(run_pass(splits, summarizer))
    assert beam.SerializeToString(deterministic=True) == direct.SerializeToString(deterministic=True)
    assert [dataset.name for dataset in beam.datasets] == ["train", "eval", "none"]
    assert beam.datasets[2].num_examples == 0 and len(beam.datasets[2].features) == 5

    features = by_name(to_proto({"all": run_pass(groups, summarizer, engine="direct")}))
    for name in ("id", "value"):
        values = table[name].drop_null().to_numpy()
        stats, unique = features[name].num_stats, custom(features[name], "unique")
        assert stats.mean == pytest.approx(values.mean(), rel=1e-12)
        assert stats.std_dev == pytest.approx(values.std(), rel=1e-9)
        assert (stats.min, stats.max) == (values.min(), values.max())
        assert unique == pytest.approx(len(np.unique(values)), rel=0.03)
        edges = [bucket.high_value for bucket in stats.histograms[1].buckets]
        ranks = np.searchsorted(np.sort(values), edges, side="right") / len(values)
        bound = custom(features[name], "quantile_rank_error")
        assert np.abs(ranks - np.linspace(0.05, 1, 20)).max() <= bound < 0.001
        counts = [bucket.sample_count for bucket in stats.histograms[0].buckets]
        assert np.abs(np.array(counts) - np.histogram(values, 20)[0]).max() <= 2 * bound * len(values)
    delay = table["delay"].to_numpy()
    assert features["delay"].num_stats.median == np.median(delay)
    assert custom(features["delay"], "unique") == len(np.unique(delay))
    assert features["carrier"].string_stats.unique == 3
    tail = features["tail"].string_stats
    assert tail.top_values[0].value == "N1"
    assert tail.unique == pytest.approx(len(table["tail"].unique()), rel=0.03)


def test_nan_and_infinity_are_counted_and_kept_out_of_the_mean():
    table = pa.table({"x": [1.0, 3.0, math.nan, math.inf, -math.inf, None, 0.0]})
    [feature] = by_name(statistics_of(table)).values()
    stats = feature.num_stats
    assert (stats.min, stats.max, stats.mean, stats.median) == (-math.inf, math.inf, 4 / 3, 1.0)
    assert stats.histograms[0].num_nan == 1 and custom(feature, "num_infinite") == 2
    assert (stats.common_stats.num_missing, stats.num_zeros) == (1, 1)
    only = by_name(statistics_of(pa.table({"x": [math.nan, math.nan]})))["x"].num_stats
    assert math.isnan(only.mean) and only.histograms[0].num_nan == 2
    above = by_name(statistics_of(pa.table({"x": [math.inf]})))["x"].num_stats
    assert (above.min, above.max) == (math.inf, math.inf)


def test_ints_beyond_a_doubles_reach_keep_their_exact_extremes():
    feature = by_name(statistics_of(pa.table({"x": [2**53 + 1, -(2**62) - 1]})))["x"]
    assert (custom(feature, "min_exact"), custom(feature, "max_exact")) == (str(-(2**62) - 1), str(2**53 + 1))


def test_types_and_top_values():
    table = pa.table(
        {
            "dictionary": pa.array(["a", "b", "a"]).dictionary_encode(),
            "fixed": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)),
            "holes": pa.array([["a", None], [], None]),
            "price": pa.array([decimal.Decimal("1.5")] * 3),
            "long": ["x" * 2000, "y", "y"],
            "code": [7, 7, 3],
        }
    )
    features = by_name(statistics_of(table))
    kinds = {name: statistics_pb2.FeatureNameStatistics.Type.Name(f.type) for name, f in features.items()}
    strings = dict.fromkeys(("dictionary", "holes", "long"), "STRING")
    assert kinds == strings | {"fixed": "INT", "price": "FLOAT", "code": "INT"}
    assert features["dictionary"].string_stats.top_values[0].value == "a"
    assert features["fixed"].num_stats.common_stats.tot_num_values == 4
    assert custom(features["holes"], "null_elements") == 1
    assert features["long"].string_stats.rank_histogram.buckets[1].label == "__LARGE_BYTES__"
    [ranked] = [stat.rank_histogram for stat in features["code"].custom_stats if stat.name == "top_values"]
    assert [(bucket.label, bucket.sample_count) for bucket in ranked.buckets] == [("7", 2), ("3", 1)]
    assert custom(features["price"], "arrow_type").startswith("decimal128(")


def test_a_column_the_feature_model_has_not_is_refused():
    with pytest.raises(TypeError, match="'s' has the Arrow type struct"):
        StatisticsSummarizer(pa.schema([("s", pa.struct([("a", pa.int8())]))]))
