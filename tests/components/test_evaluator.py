"""The Evaluator on real SavedModels, on predictions of a scikit-learn component, and in what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headrace.components import Importer
from headrace.components.evaluator import BetterThanConstant, ChangeThreshold, Evaluator, ValueThreshold
from headrace.pipelines import (
    Examples,
    Input,
    Model,
    Output,
    Pipeline,
    PipelineParameter,
    Predictions,
    Schema,
    TransformGraph,
    component,
)
from headrace.pipelines.component_spec import parse
from headrace.pipelines.errors import DataError
from headrace.pipelines.parameter_values import decode, encode
from headrace.transforms.metrics.thresholds import thresholds_of
from headrace.transforms.row_groups import RowGroup
from sklearn import metrics as sk

ROWS = 6000


def table(seed: int, rows: int = ROWS) -> pa.Table:
    """Rows whose label follows distance and carrier; distance is missing in some, the label in a few."""
    rng = np.random.default_rng(seed)
    carrier = rng.choice(["AA", "UA", "DL"], rows, p=[0.6, 0.3, 0.1])
    distance = rng.normal(size=rows).astype(np.float32)
    effect = np.select([carrier == "AA", carrier == "UA"], [-1.0, 0.5], 1.0)
    late = rng.random(rows) < 1 / (1 + np.exp(-effect - 1.5 * distance))
    return pa.table(
        {
            "distance": pa.array(distance, mask=rng.random(rows) < 0.05),
            "carrier": carrier,
            "origin": rng.choice(["JFK", "LGA"], rows),
            "late": pa.array(late, mask=rng.random(rows) < 0.01),
            "delay": 30 * distance + rng.normal(size=rows) * 10,
            "rows": rng.integers(1, 4, rows),
        }
    )


def write_examples(folder, **splits) -> Examples:
    examples = Examples(str(folder))
    with examples.writer(next(iter(splits.values())).schema) as writer:
        writer.declare(*splits)
        for split, rows in splits.items():
            for batch in rows.to_batches(max_chunksize=1500):
                writer.write(split, batch)
    examples.commit({})
    return Examples.open(str(folder))


def export(folder, slope: float, outputs=("predictions",), links=None) -> Model:
    """A SavedModel as the Trainer exports it: raw columns of rank 1 in, named outputs out."""
    import keras
    import tensorflow as tf

    lookup = keras.layers.StringLookup(vocabulary=["AA", "UA", "DL"], num_oov_indices=1)

    class Serving(tf.Module):
        @tf.function(
            input_signature=[
                {
                    "carrier": tf.TensorSpec((None,), tf.string, name="carrier"),
                    "distance": tf.TensorSpec((None,), tf.float32, name="distance"),
                }
            ],
            autograph=False,
        )
        def serve(self, raw):
            effect = tf.gather(tf.constant([0.0, -1.0, 0.5, 1.0]), lookup(raw["carrier"]))
            distance = tf.where(tf.math.is_nan(raw["distance"]), 0.0, raw["distance"])
            late = tf.sigmoid(effect + slope * distance)[:, None]
            every = {"predictions": late, "late": late, "delay": (30 * slope / 1.5 * distance)[:, None]}
            return {name: every[name] for name in outputs}

    serving = Serving()
    serving.lookup = lookup
    model = Model(str(folder))
    tf.saved_model.save(serving, str(model.saved_model_path), signatures={"serving_default": serving.serve})
    model.link(**({"label": "late"} if links is None else links))
    model.commit({})
    return Model.open(str(folder))


def expected_predictions(rows: pa.Table, slope: float) -> np.ndarray:
    effect = rows["carrier"].to_pandas().map({"AA": -1.0, "UA": 0.5, "DL": 1.0}).to_numpy()
    return 1 / (1 + np.exp(-effect - slope * rows["distance"].to_pandas().fillna(0).to_numpy()))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    eval_rows = table(1)
    return {
        "rows": eval_rows,
        "examples": write_examples(folder / "examples", train=table(0, 100), eval=eval_rows),
        "model": export(folder / "model", 1.5),
        "worse": export(folder / "worse", 0.5),
        "two": export(folder / "two", 1.5, ("late", "delay"), {}),
    }


@pytest.fixture(scope="module")
def evaluated(parts, tmp_path_factory):
    return Evaluator.call(
        examples=parts["examples"],
        model=parts["model"],
        baseline_model=parts["worse"],
        slices=["carrier", ["carrier", "origin"]],
        thresholds={
            "auc": [ValueThreshold(lower=0.7), ChangeThreshold(absolute=-0.001)],
            "log_loss": BetterThanConstant(relative=0.05, slices=["overall", "carrier"], rows_above=1000),
        },
        out_dir=tmp_path_factory.mktemp("evaluated"),
    )


def test_metrics_are_those_of_the_models_predictions(parts, evaluated):
    found = evaluated.evaluation.read()
    rows = parts["rows"].to_pandas()
    rows["p"], rows["other"] = expected_predictions(parts["rows"], 1.5), expected_predictions(parts["rows"], 0.5)
    labelled = rows[rows["late"].notna()]
    output = found["outputs"]["predictions"]
    assert (found["rows"], found["split"], output["task"], output["label"]) == (ROWS, "eval", "binary", "late")
    assert output["overall"]["count"] == len(labelled) and output["overall"]["unlabelled"] == ROWS - len(labelled)
    slices = {entry["name"]: entry for entry in [output["overall"], *output["slices"]]}
    assert len(slices) == 1 + 3 + 6
    for name, chosen in {
        "overall": labelled,
        "carrier=UA": labelled[labelled["carrier"] == "UA"],
        "carrier=DL, origin=LGA": labelled[(labelled["carrier"] == "DL") & (labelled["origin"] == "LGA")],
    }.items():
        truth = chosen["late"].astype(int)
        for model, column in (("metrics", "p"), ("baseline", "other")):
            metrics = slices[name][model]
            assert metrics["auc"]["value"] == pytest.approx(sk.roc_auc_score(truth, chosen[column]), abs=1e-6)
            assert metrics["log_loss"]["value"] == pytest.approx(sk.log_loss(truth, chosen[column]), rel=1e-5)
            assert metrics["auc"]["lower"] < metrics["auc"]["value"] < metrics["auc"]["upper"]
    assert {"roc", "precision_recall", "calibration"} <= output["plots"].keys() & output["baseline_plots"].keys()
    assert evaluated.evaluation.properties["auc"] == output["overall"]["metrics"]["auc"]["value"]
    assert any("rows have no label for predictions" in warning for warning in evaluated.warnings)


def test_a_model_that_passes_is_blessed_with_the_reason(evaluated):
    blessing = evaluated.blessing
    assert blessing.blessed is True and blessing.read()["blessed"]
    assert blessing.reason.startswith("auc is 0.8") and blessing.reason.endswith("and 4 more checks pass")
    assert [check["slice"] for check in blessing.read()["thresholds"]] == ["overall"] * 3 + ["carrier=AA", "carrier=UA"]
    assert blessing.links["model"]["type"] == "Model"
    assert not any("cannot fail" in warning for warning in evaluated.warnings)


def test_a_worse_model_is_refused_and_the_reason_names_metric_slice_value_and_threshold(parts, tmp_path):
    found = Evaluator.call(
        examples=parts["examples"],
        model=parts["worse"],
        baseline_model=parts["model"],
        thresholds={
            "log_loss": ChangeThreshold(slices=["carrier"], rows_above=3000),
            "accuracy": ValueThreshold(lower=0),
        },
        out_dir=tmp_path,
    )
    assert found.blessing.blessed is False
    assert found.blessing.reason.startswith("log_loss is 0.")
    assert "for carrier=AA (3," in found.blessing.reason and "the baseline's 0." in found.blessing.reason
    assert any("the threshold on accuracy (at least 0) cannot fail" in warning for warning in found.warnings)
    assert found.evaluation.read()["blessed"] is False


def test_without_a_baseline_a_change_threshold_is_warned_of(parts, tmp_path):
    found = Evaluator.call(
        examples=parts["examples"], model=parts["model"], thresholds={"auc": ChangeThreshold()}, out_dir=tmp_path
    )
    assert found.blessing.blessed
    assert any("no baseline model, so it cannot fail" in warning for warning in found.warnings)


def test_several_outputs_weights_and_chosen_metrics(parts, tmp_path):
    found = Evaluator.call(
        examples=parts["examples"],
        model=parts["two"],
        label={"late": "late", "delay": "delay"},
        weight="rows",
        metrics=[{"metric": "rmse"}, "label_mean"],
        thresholds={"late:auc": ValueThreshold(lower=0.6), "delay:rmse": ValueThreshold(upper=100)},
        out_dir=tmp_path,
    ).evaluation.read()
    rows = parts["rows"].to_pandas()
    rows["p"] = 30 * rows["distance"].fillna(0)
    delay = found["outputs"]["delay"]
    assert delay["task"] == "regression" and found["outputs"]["late"]["task"] == "binary"
    expected = sk.root_mean_squared_error(rows["delay"], rows["p"], sample_weight=rows["rows"])
    assert delay["overall"]["metrics"]["rmse"]["value"] == pytest.approx(expected, rel=1e-5)
    assert delay["overall"]["weight"] == rows["rows"].sum()
    assert set(delay["overall"]["metrics"]) == {"rmse", "rmse_constant", "label_mean"}
    assert "auc" in found["outputs"]["late"]["overall"]["metrics"]


def test_each_modality_is_withheld_and_the_change_has_an_interval(parts, tmp_path):
    found = Evaluator.call(
        examples=parts["examples"],
        model=parts["model"],
        baseline_model=parts["worse"],
        metrics=["auc", "log_loss"],
        modalities={"who": ["carrier"], "how far": ["distance"]},
        out_dir=tmp_path,
    )
    document = found.evaluation.read()
    [output] = document["ablation"]["outputs"].values()
    rows = parts["rows"]
    kept = rows.filter(rows["late"].is_valid())
    late = kept["late"].to_pandas().astype(float).to_numpy()
    assert output["rows"] == len(late) == document["outputs"]["predictions"]["overall"]["count"]
    distance = kept["distance"].to_pandas().fillna(0).to_numpy()
    full = expected_predictions(kept, 1.5)
    expected = {
        "complete": full,
        "who": 1 / (1 + np.exp(-1.5 * distance)),
        "how far": expected_predictions(kept, 0.0),
        "baseline": expected_predictions(kept, 0.5),
    }
    entries = {"complete": output["complete"], "baseline": output["baseline"]}
    entries |= {one["modality"]: one for one in output["withheld"]}
    assert [one["columns"] for one in output["withheld"]] == [["carrier"], ["distance"]]
    for name, predictions in expected.items():
        auc, loss = sk.roc_auc_score(late, predictions), sk.log_loss(late, predictions)
        assert entries[name]["metrics"]["auc"]["value"] == pytest.approx(auc, abs=1e-6)
        assert entries[name]["metrics"]["log_loss"]["value"] == pytest.approx(loss, rel=1e-5)
        if name != "complete":
            change = entries[name]["change"]["auc"]
            assert change["value"] == pytest.approx(auc - sk.roc_auc_score(late, full), abs=1e-6)
            assert change["lower"] < change["value"] < change["upper"] < 0
    assert not [warning for warning in document["warnings"] if "without" in warning]
    overall = document["outputs"]["predictions"]["overall"]["metrics"]["auc"]
    whole = entries["complete"]["metrics"]["auc"]
    assert whole["value"] == pytest.approx(overall["value"], abs=1e-9)
    assert whole["upper"] - whole["lower"] == pytest.approx(overall["upper"] - overall["lower"], rel=0.2), "DeLong's"


def test_a_branch_that_does_nothing_is_seen(parts, tmp_path):
    """The slope is 0, so distance changes no prediction."""
    idle = export(tmp_path / "idle", 0.0)
    given = {"examples": parts["examples"], "model": idle, "metrics": ["auc"]}
    given["modalities"] = {"who": ["carrier"], "how far": ["distance"]}
    found, again = (Evaluator.call(**given, out_dir=tmp_path / name) for name in ("out", "again"))
    document = found.evaluation.read()
    who, far = document["ablation"]["outputs"]["predictions"]["withheld"]
    assert far["change"]["auc"] == {"value": 0.0, "lower": 0.0, "upper": 0.0}
    assert who["change"]["auc"]["upper"] < 0
    [said] = [warning for warning in found.warnings if "without" in warning]
    assert "'how far' auc of predictions is not clearly worse (+0.0000, +0.0000 to +0.0000): its columns" in said
    assert again.evaluation.digest == found.evaluation.digest


def test_an_ablation_of_many_rows_takes_some_of_all_the_split(parts, tmp_path, monkeypatch):
    monkeypatch.setattr("headrace.components.evaluation.ablation.ROWS", 1000)
    found = Evaluator.call(
        examples=parts["examples"], model=parts["model"], modalities={"who": ["carrier"]}, out_dir=tmp_path
    )
    document = found.evaluation.read()
    assert 950 <= document["ablation"]["rows"] <= 1000
    complete = document["ablation"]["outputs"]["predictions"]["complete"]["metrics"]["auc"]
    auc = document["outputs"]["predictions"]["overall"]["metrics"]["auc"]["value"]
    assert complete["lower"] < auc < complete["upper"]


def test_without_modalities_nothing_is_withheld(evaluated):
    assert "ablation" not in evaluated.evaluation.read()


def keras_metrics():
    import keras

    return {"mine": keras.metrics.BinaryAccuracy(threshold=0.3)}


def test_keras_metrics_by_name_and_by_function(parts, tmp_path):
    found = Evaluator.call(
        examples=parts["examples"],
        model=parts["model"],
        metrics=["auc", {"metric": "keras.metrics.AUC", "name": "keras_auc", "config": {"num_thresholds": 500}}],
        custom_metrics=keras_metrics,
        slices=["carrier"],
        out_dir=tmp_path,
    ).evaluation.read()["outputs"]["predictions"]
    for entry in [found["overall"], *found["slices"]]:
        assert entry["metrics"]["keras_auc"]["value"] == pytest.approx(entry["metrics"]["auc"]["value"], abs=2e-3)
    rows = parts["rows"].to_pandas()
    rows["p"] = expected_predictions(parts["rows"], 1.5)
    rows = rows[rows["late"].notna()]
    expected = ((rows["p"] > 0.3) == rows["late"].astype(bool)).mean()
    assert found["overall"]["metrics"]["mine"]["value"] == pytest.approx(expected, abs=1e-3)


@component
def SklearnClassifier(examples: Input[Examples], predictions: Output[Predictions], *, columns: list[str] | None = None):
    """A user's own step: trains a model of its own and writes its predictions for the eval split."""
    from sklearn.linear_model import LogisticRegression

    def features(table):
        carriers = [(table["carrier"].to_numpy(zero_copy_only=False) == name) for name in ("AA", "UA")]
        return np.stack([*carriers, np.nan_to_num(table["distance"].to_numpy())], axis=1)

    train, test = examples.read("train").drop_null(), examples.read("eval")
    model = LogisticRegression().fit(features(train), train["late"].to_numpy(zero_copy_only=False).astype(int))
    made = pa.table({"predictions": model.predict_proba(features(test))[:, 1]})
    for name in columns or []:
        made = made.append_column(name, examples.read("eval")[name])
    pq.write_table(made, predictions.path / "predictions.parquet", row_group_size=1000)
    predictions.rows = made.num_rows


@pytest.mark.parametrize("columns", [None, ["late", "carrier"]], ids=["beside the examples", "with their columns"])
def test_a_users_scikit_learn_step_is_evaluated_and_blessed(parts, tmp_path, columns):
    examples = write_examples(tmp_path / "examples", train=table(0, 3000), eval=parts["rows"])
    made = SklearnClassifier.call(examples=examples, columns=columns, out_dir=tmp_path / "sklearn")
    found = Evaluator.call(
        predictions=made.predictions,
        examples=None if columns else examples,
        label="late",
        slices=["carrier"],
        thresholds={"log_loss": BetterThanConstant(relative=0.1, slices=["overall", "carrier"], rows_above=1000)},
        out_dir=tmp_path / "evaluated",
    )
    assert found.blessing.blessed and found.blessing.reason.startswith("log_loss is 0.")
    output = found.evaluation.read()["outputs"]["predictions"]
    p = pq.read_table(made.predictions.shards())["predictions"].to_numpy()
    labels = parts["rows"]["late"].to_pandas()
    expected = sk.roc_auc_score(labels[labels.notna()].astype(int), p[labels.notna()].astype(np.float32))
    assert output["overall"]["metrics"]["auc"]["value"] == pytest.approx(expected)
    assert {entry["name"] for entry in output["slices"]} == {"carrier=AA", "carrier=UA", "carrier=DL"}


def test_predictions_must_be_as_many_as_the_examples(parts, tmp_path):
    predictions = Predictions(str(tmp_path / "predictions"))
    pq.write_table(pa.table({"predictions": [0.1, 0.2]}), predictions.path / "part.parquet")
    predictions.rows = 2
    predictions.commit({})
    with pytest.raises(ValueError, match=r"2 predictions and 6,000 examples"):
        Evaluator.call(predictions=predictions, examples=parts["examples"], label="late", out_dir=tmp_path / "out")


def test_values_of_a_sensitive_column_are_not_written(parts, tmp_path):
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = Schema(str(tmp_path / "schema"))
    message = schema_pb2.Schema()
    message.feature.add(name="carrier", type=schema_pb2.BYTES).annotation.tag.append("sensitive")
    message.feature.add(name="distance", type=schema_pb2.FLOAT)
    schema.write(message)
    schema.commit({})
    found = Evaluator.call(
        examples=parts["examples"],
        model=parts["model"],
        schema=schema,
        slices=["carrier", ["carrier", "origin"]],
        thresholds={"auc": ValueThreshold(lower=0.99, slices=["carrier"])},
        out_dir=tmp_path / "out",
    )
    text = json.dumps([found.evaluation.read(), found.blessing.read(), found.blessing.reason])
    assert not any(value in text for value in ("AA", "UA", "DL"))
    names = {entry["name"] for entry in found.evaluation.read()["outputs"]["predictions"]["slices"]}
    assert {"carrier=#1", "carrier=#3, origin=JFK"} <= names


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"label": "lat"}, ValueError, r"label or weight 'lat' is no output of preproc.*did you mean 'late'"),
        ({"label": "carrier"}, ValueError, r"the label 'carrier' is string, which is no number.*classes="),
        ({"slices": ["carier"]}, ValueError, r"no column 'carier' to slice by; they have distance, carrier"),
        ({"metrics": ["aucc"]}, ValueError, r"no metric 'aucc' for a binary output; did you mean 'auc'"),
        ({"thresholds": {"aucc": ValueThreshold(lower=1)}}, ValueError, r"threshold on 'aucc', which is not among"),
        ({"eval_split": "evil"}, KeyError, r"no split 'evil'.*train, eval"),
        ({"task": "regresion"}, ValueError, r"task= is one of binary, multiclass, regression; received 'regresion'"),
        ({"label": {"late": "late"}}, ValueError, r"label= names the output 'late'; the model has predictions"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(parts, tmp_path, given, error, message):
    with pytest.raises(error, match=message):
        Evaluator.call(examples=parts["examples"], model=parts["model"], out_dir=tmp_path, **given)


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        ({"who": ["carier"]}, "'carier' of 'who', which the model lacks; did you mean 'carrier'"),
        ({"where": ["origin"]}, "'origin' of 'where', which the model lacks; it takes carrier, distance"),
    ],
)
def test_modalities_of_columns_that_the_model_lacks_are_named(parts, tmp_path, modalities, message):
    with pytest.raises(ValueError, match=message):
        Evaluator.call(examples=parts["examples"], model=parts["model"], modalities=modalities, out_dir=tmp_path)


def test_rows_without_the_models_columns_and_no_rows_at_all(parts, tmp_path):
    without = write_examples(tmp_path / "without", eval=parts["rows"].drop_columns(["distance"]))
    with pytest.raises(ValueError, match="no column 'distance' that the model takes"):
        Evaluator.call(examples=without, model=parts["model"], out_dir=tmp_path / "a")
    empty = write_examples(tmp_path / "empty", eval=parts["rows"].slice(0, 0))
    with pytest.raises(DataError, match="split 'eval' has no rows to evaluate"):
        Evaluator.call(examples=empty, model=parts["model"], out_dir=tmp_path / "b")
    with pytest.raises(ValueError, match="the model has 2 outputs; say which label each has"):
        Evaluator.call(examples=parts["examples"], model=parts["two"], label="late", out_dir=tmp_path / "c")
    two_models = export(tmp_path / "unlabelled", 1.0, links={})
    with pytest.raises(ValueError, match="the model does not say what its label is: pass label="):
        Evaluator.call(examples=parts["examples"], model=two_models, out_dir=tmp_path / "d")


def test_a_string_label_with_classes(parts, tmp_path):
    text = pa.array([None if late is None else "yes" if late else "no" for late in parts["rows"]["late"].to_pylist()])
    examples = write_examples(tmp_path / "examples", eval=parts["rows"].append_column("answer", text))
    same = {"examples": examples, "model": parts["model"]}
    found = Evaluator.call(label="answer", classes=["no", "yes"], out_dir=tmp_path / "a", **same).evaluation
    plain = Evaluator.call(label="late", out_dir=tmp_path / "b", **same).evaluation
    assert found.properties["auc"] == plain.properties["auc"]
    with pytest.raises(ValueError, match=r"is 'yes', which is none of classes=\['no', 'ja'\]"):
        Evaluator.call(label="answer", classes=["no", "ja"], out_dir=tmp_path / "c", **same)


def test_the_label_that_a_transform_computes(tmp_path):
    """From the Trainer's links: label and weight are outputs of preprocessing_fn, on the rows that have them."""
    import keras
    from headrace.transforms.keras_graph import analyze_and_trace, export_serving_model
    from tensorflow_metadata.proto.v0 import schema_pb2

    def preprocessing_fn(inputs):
        return {
            "x": keras.layers.Normalization()(inputs["distance"]),
            "very_late": keras.ops.cast(inputs["delay"] > 20.0, "float32"),
            "doubled": inputs["rows"] * 2,
        }

    rows = table(2, 1500).drop_columns(["late"])
    delay = pa.array(rows["delay"].to_numpy(), mask=np.arange(1500) % 50 == 0)
    rows = rows.set_column(rows.schema.get_field_index("delay"), "delay", delay)
    examples = write_examples(tmp_path / "examples", train=rows, eval=rows)
    message = schema_pb2.Schema()
    for name, kind, least in (("distance", "FLOAT", 0.0), ("delay", "FLOAT", 0.0), ("rows", "INT", 1.0)):
        message.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind)).presence.min_fraction = least
    groups = [RowGroup(*group) for group in examples.row_groups("train")]
    labels = ["very_late", "doubled"]
    traced = analyze_and_trace(preprocessing_fn, message, groups, labels=labels, engine="direct")
    graph = TransformGraph(str(tmp_path / "graph"))
    traced.save(graph.path)
    graph.commit({})
    given = keras.Input((1,), name="x")
    model = keras.Model({"x": given}, keras.layers.Dense(1, "sigmoid")(keras.ops.nan_to_num(given)))
    made = Model(str(tmp_path / "model"))
    export_serving_model(model, graph.path, made.saved_model_path)
    made.link(label="very_late", weight="doubled", transform_graph=graph)
    made.commit({})
    found = Evaluator.call(examples=examples, model=made, out_dir=tmp_path / "out").evaluation.read()
    overall = found["outputs"]["predictions"]["overall"]
    frame = rows.to_pandas().dropna(subset=["delay"])
    assert (overall["count"], overall["unlabelled"]) == (len(frame), 30)
    assert overall["weight"] == 2 * frame["rows"].sum()
    expected = np.average(frame["delay"] > 20, weights=frame["rows"])
    assert overall["metrics"]["label_mean"]["value"] == pytest.approx(expected)


def test_thresholds_travel_as_json():
    annotation = parse(Evaluator.function).parameters["thresholds"].annotation
    written = {
        "auc": [ValueThreshold(lower=0.6), ChangeThreshold()],
        "log_loss": BetterThanConstant(absolute=0.02, slices=["overall", "carrier", ["carrier", "origin"]]),
    }
    document = json.loads(json.dumps(encode(written, annotation)))
    assert thresholds_of(decode(document, annotation)) == thresholds_of(written)
    assert document["log_loss"]["kind"] == "better_than_constant"


def test_a_threshold_may_be_a_pipelines_parameter():
    step = Importer(source_uri="made/elsewhere", artifact_type=Predictions)
    evaluator = Evaluator(
        predictions=step.outputs["result"],
        label="late",
        thresholds={"auc": [ValueThreshold(lower=PipelineParameter("least", float, 0.6))]},
    )
    document = Pipeline(name="evaluate", components=[step, evaluator]).plan.to_json()
    assert '"least"' in document and '"kind"' in document


def test_arguments_that_do_not_go_together_are_found_when_the_pipeline_is_built():
    from headrace.components.evaluator import _arguments

    assert [what for what, _ in _arguments({})] == ["expected model= or predictions=, received neither"]
    assert [what for what, _ in _arguments({"model": 1})] == ["model= needs examples=: the raw rows to call it on"]
    [(what, _)] = _arguments({"predictions": 1, "label": "late", "modalities": {"text": ["remarks"]}})
    assert what == "modalities= withholds columns from a model, received predictions="
    [(what, _)] = _arguments({"model": 1, "examples": 1, "modalities": {"text": "remarks"}})
    assert what == "modalities= has no list of columns for 'text', but 'remarks'"
    assert not list(_arguments({"predictions": 1, "label": "late", "thresholds": {"auc": ValueThreshold(lower=0.6)}}))
    [(what, _)] = _arguments({"predictions": 1, "label": "late", "thresholds": {"auc": 0.6}})
    assert "expected a threshold: one of ValueThreshold, ChangeThreshold, BetterThanConstant" in what


def test_importing_the_component_imports_nothing_heavy():
    heavy = "{'numpy', 'pyarrow', 'tensorflow', 'keras', 'apache_beam', 'sqlalchemy'}"
    modules = "headrace.components.evaluator, headrace.components.bulk_inferrer"
    code = f"import sys, {modules}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
