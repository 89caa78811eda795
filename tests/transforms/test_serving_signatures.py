"""Signatures of an export: inputs that may be left out, and those that an author asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from headrace.transforms.row_groups import row_groups
from headrace.transforms.serving.loaded_model import LoadedModel
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving_signature import ServingSignature, signature_problems
from tensorflow_metadata.proto.v0 import schema_pb2

from tests.served_models import served

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

SCHEMA = """
feature { name: "x" type: FLOAT presence { min_fraction: 0.5 } }
feature { name: "word" type: BYTES }
feature { name: "count" type: INT presence { min_fraction: 1 } }
feature { name: "year" type: INT annotation { tag: "default=2013" } }
feature { name: "flag" type: INT bool_domain {} presence { min_fraction: 1 } annotation { tag: "default=true" } }
feature { name: "codes" type: INT shape { dim { size: 3 } } annotation { tag: "default=7" } }
"""
ROWS = 30
LABELS = ["gull", "tern", "auk"]
SIGNATURES = [
    ServingSignature("serving_keyed", key="id", key_dtype="int64"),
    ServingSignature("by_word", key="word"),
    ServingSignature("all_classes", labels=LABELS, output="kind"),
    ServingSignature("best", labels=LABELS, top_k=2, output="kind"),
    ServingSignature("late", labels=["on time", "late"], output="chance", method="classify"),
    ServingSignature("kinds", top_k=2, output="kind", method="classify"),
    ServingSignature("amount", output="amount", method="regress"),
]


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    known = keras.layers.Lambda(lambda x: keras.ops.where(keras.ops.isnan(x), -1.0, x))
    number = keras.layers.Lambda(lambda x: keras.ops.cast(x, "float32"))
    return {
        "x": known(inputs["x"]),
        "word": keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(inputs["word"]),
        **{name: number(inputs[name]) for name in ("count", "year", "flag", "codes")},
    }


def postprocess(outputs: dict[str, Any]) -> dict[str, Any]:
    return {**outputs, "amount": outputs["chance"][:, 0] * 100.0}


class Made(NamedTuple):
    """An exported model."""

    folder: Path
    model: Any
    transform: Any


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    from headrace.transforms.keras_graph import analyze_and_trace, export_serving_model, load_transform

    folder = tmp_path_factory.mktemp("made")
    table = pa.table(
        {
            "x": [1.0] * ROWS,
            "word": ["a", "b", "c"] * (ROWS // 3),
            "count": range(ROWS),
            "year": [2000] * ROWS,
            "flag": [True] * ROWS,
            "codes": [[1, 2, 3]] * ROWS,
        }
    )
    pq.write_table(table, folder / "part.parquet")
    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
    groups = row_groups([str(folder / "part.parquet")])
    analyze_and_trace(preprocessing_fn, schema, groups, engine="direct").save(folder / "transform")
    transform = load_transform(folder / "transform")
    features = transform.feature_inputs()
    joined = keras.layers.Concatenate()(list(features.values()))
    scaled = keras.layers.Rescaling(0.001)(joined)
    outputs = {
        "chance": keras.layers.Dense(1, activation="sigmoid")(scaled),
        "kind": keras.layers.Dense(3, activation="softmax")(scaled),
    }
    keras.utils.set_random_seed(4)
    model = keras.Model(dict(features), outputs)
    export_serving_model(model, transform, folder / "birds" / "1", signatures=SIGNATURES, postprocess=postprocess)
    return Made(folder / "birds" / "1", model, transform)


@pytest.fixture(scope="module")
def loaded(made: Made) -> Any:
    return LoadedModel(made.folder)


def rows(number: int = 4) -> dict[str, Any]:
    return {
        "x": np.arange(number, dtype=np.float32) / 3,
        "word": np.array([b"a", b"b", b"c", b""] * number, object)[:number],
        "count": np.arange(number, dtype=np.int64),
        "year": np.full(number, 2000, np.int64),
        "flag": np.arange(number) % 2 == 0,
        "codes": np.arange(number * 3).reshape(number, 3),
    }


MISSING = {"x": np.nan, "word": b"", "year": 2013, "flag": True, "codes": [7, 7, 7]}


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if value.dtype == object:
            assert value.tolist() == other[name].tolist()
        else:
            np.testing.assert_allclose(value, other[name], rtol=1e-6, atol=1e-7)


def test_what_may_be_left_out_and_what_stands_for_it(loaded: Any) -> None:
    """By the schema: whatever has a missing value or a stated default; a row of it, as the proto holds it."""
    for name in ("serving_default", "transform_features", "serving_keyed", "best"):
        defaults = {key: tf.make_ndarray(proto) for key, proto in loaded.file.definitions[name].defaults.items()}
        assert {key: value.tolist() for key, value in defaults.items() if key != "x"} == {
            "word": [b""],
            "year": [2013],
            "flag": [True],
            "codes": [[7, 7, 7]],
        }
        assert defaults["x"].dtype == np.float32 and np.isnan(defaults["x"]).tolist() == [True]
    assert not loaded.file.definitions["serving_examples"].defaults


@pytest.mark.parametrize("signature", ["serving_default", "transform_features"])
@pytest.mark.parametrize("absent", [["x"], ["word", "year"], list(MISSING)])
def test_a_default_of_one_row_stands_for_as_many_as_there_are(loaded: Any, signature: str, absent: list[str]) -> None:
    """What TensorFlow Serving's gRPC does: it puts the tensor of `SignatureDef.defaults` in place of the input."""
    given = rows()
    explicit = given | {name: np.array([MISSING[name]] * 4).astype(given[name].dtype) for name in absent}
    defaults = loaded.file.definitions[signature].defaults
    by_server = given | {name: tf.make_ndarray(defaults[name]) for name in absent}
    assert_equal(loaded.run(signature, by_server), loaded.run(signature, explicit))


@pytest.mark.parametrize("number", [0, 1, 3])
def test_any_number_of_rows(made: Made, loaded: Any, number: int) -> None:
    given = rows(number)
    answer = loaded.run("serving_default", given | {"x": np.array([np.nan], np.float32)})
    features = made.transform.features({name: tf.constant(value) for name, value in rows(number).items()})
    features["x"] = tf.fill((number, 1), -1.0)
    expected = made.model(features) if number else {"chance": np.zeros((0, 1)), "kind": np.zeros((0, 3))}
    assert_equal(answer, {name: np.asarray(value) for name, value in expected.items()})


def test_inputs_of_different_numbers_of_rows_are_refused(loaded: Any) -> None:
    for wrong in ({"x": np.ones(2, np.float32)}, {"year": np.ones(0, np.int64)}, {"word": np.array([b""] * 5, object)}):
        with pytest.raises(RequestError, match=r"inputs of one number of rows .*\[x, word, .*\] \[of\] \[[\d ]{11}\]"):
            loaded.run("serving_default", rows() | wrong)


def test_examples_without_an_optional_feature(loaded: Any) -> None:
    """Serialized by TensorFlow; the same as the columns with the missing value."""
    example = tf.train.Example()
    example.features.feature["count"].int64_list.value.append(5)
    answer = loaded.run("serving_examples", {"examples": np.array([example.SerializeToString()], object)})
    columns = {name: np.array([value]).astype(rows()[name].dtype) for name, value in MISSING.items()}
    columns["count"] = np.array([5])
    assert_equal(answer, loaded.run("serving_default", columns))
    example.features.ClearField("feature")
    with pytest.raises(RequestError, match="count"):
        loaded.run("serving_examples", {"examples": np.array([example.SerializeToString()], object)})


def test_a_key_passes_through_unchanged(loaded: Any) -> None:
    given, keys = rows(), np.array([2**62, -1, 0, 7])
    keyed = loaded.run("serving_keyed", given | {"id": keys})
    assert keyed.pop("id").tolist() == keys.tolist()
    chance = loaded.run("serving_default", given)
    np.testing.assert_allclose(keyed.pop("amount"), chance["chance"][:, 0] * 100, rtol=1e-6)
    assert_equal(keyed, chance)
    assert loaded.run("by_word", given)["word"].tolist() == given["word"].tolist()


def test_classes_and_scores(loaded: Any) -> None:
    """By NumPy, of what `serving_default` gives."""
    given = rows()
    raw = loaded.run("serving_default", given)
    every, best = loaded.run("all_classes", given), loaded.run("best", given)
    assert every["classes"].tolist() == [[one.encode() for one in LABELS]] * 4
    np.testing.assert_allclose(every["scores"], raw["kind"], rtol=1e-6)
    order = np.argsort(-raw["kind"], axis=1)[:, :2]
    assert best["classes"].tolist() == np.array(LABELS, "S")[order].tolist()
    np.testing.assert_allclose(best["scores"], np.take_along_axis(raw["kind"], order, 1), rtol=1e-6)
    np.testing.assert_allclose(best["chance"], raw["chance"], rtol=1e-6)


def test_for_the_classify_and_regress_apis_on_a_server(made: Made, loaded: Any) -> None:
    given = {"x": 0.5, "word": "b", "count": 2, "codes": [1, 2, 3]}
    arrays = {name: np.array([value]) for name, value in {**given, "year": 2013, "flag": True}.items()}
    raw = loaded.run("serving_default", arrays | {"x": np.array([0.5], np.float32), "word": np.array([b"b"], object)})
    chance, kind = float(raw["chance"][0, 0]), raw["kind"][0]
    methods = {name: one.method_name.rpartition("/")[2] for name, one in loaded.file.definitions.items()}
    assert (methods["late"], methods["amount"], methods["best"]) == ("classify", "regress", "predict")
    with served(made.folder.parent) as server:

        def ask(method: str, signature: str) -> Any:
            body = {"signature_name": signature, "examples": [given]}
            status, found = server.ask("POST", f"/v1/models/birds:{method}", body)
            assert status == 200, found
            return found["results"][0]

        late = ask("classify", "late")
        assert [name for name, _ in late] == ["on time", "late"]
        np.testing.assert_allclose([score for _, score in late], [1 - chance, chance], rtol=1e-5)
        numbered = ask("classify", "kinds")
        order = np.argsort(-kind)[:2]
        assert [name for name, _ in numbered] == [str(number) for number in order]
        np.testing.assert_allclose(ask("regress", "amount"), chance * 100, rtol=1e-5)
        status, found = server.predict(
            {"signature_name": "serving_keyed", "instances": [{"id": 2**53 + 1, "count": 2}]}
        )
        assert (status, found["predictions"][0]["id"]) == (200, 2**53 + 1)
        status, found = server.predict({"signature_name": "serving_keyed", "instances": [{"count": 2}]})
        assert status == 400 and "Missing named input: 'id'" in found["error"]


def test_the_file_is_whole(made: Made) -> None:
    """The fingerprint is that of the file with what was written into it."""
    fingerprint = tf.saved_model.experimental.read_fingerprint(str(made.folder))
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    (made.folder / "fingerprint.pb").rename(made.folder / "before.pb")
    try:
        assert fingerprinting.SingleprintFromSM(str(made.folder)) == fingerprint.singleprint()
    finally:
        (made.folder / "before.pb").rename(made.folder / "fingerprint.pb")


NAMES = keras.layers.StringLookup(vocabulary=LABELS, num_oov_indices=0, invert=True)


def short(kinds: Any, table: Any) -> Any:
    return table.lookup(NAMES(kinds))


@pytest.mark.parametrize("how", ["a layer and a table of the function's surroundings", "a table that nothing holds"])
def test_a_postprocess_with_tables(made: Made, loaded: Any, tmp_path: Path, how: str) -> None:
    from headrace.transforms.keras_graph import export_serving_model

    def made_table() -> Any:
        letters = tf.lookup.KeyValueTensorInitializer(LABELS, [one[0] for one in LABELS])
        return tf.lookup.StaticHashTable(letters, "?")

    table = made_table() if how.startswith("a layer") else None
    holder = [made_table()]

    def named(outputs: dict[str, Any]) -> dict[str, Any]:
        return {"letter": short(tf.argmax(outputs["kind"], 1), holder[0] if table is None else table)}

    def export() -> None:
        asked = [ServingSignature("letters")]
        export_serving_model(made.model, made.transform, tmp_path / "model", signatures=asked, postprocess=named)

    if table is None:
        with pytest.raises(ValueError, match="postprocess uses a TensorFlow table or variable"):
            export()
        return
    export()
    kinds = loaded.run("serving_default", rows())["kind"].argmax(1)
    expected = [LABELS[kind][0].encode() for kind in kinds]
    assert LoadedModel(tmp_path / "model").run("letters", rows())["letter"].tolist() == expected


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (ServingSignature("s", labels=["a"], output="kind"), "names 1 classes, the output 'kind' has 3"),
        (ServingSignature("s", top_k=4, output="kind"), "top_k=4, the output 'kind' has 3 classes"),
        (ServingSignature("s", top_k=1), "expected output= to name one of chance, kind, received none"),
        (ServingSignature("s", key="chance"), "the key 'chance' is also an output of the model"),
        (ServingSignature("s", key="COUNT"), "differs from 'count' only in case"),
        (ServingSignature("s", output="kind", method="regress"), "expected one number a row to regress"),
    ],
)
def test_what_does_not_fit_the_model(made: Made, tmp_path: Path, asked: ServingSignature, said: str) -> None:
    from headrace.transforms.keras_graph import export_serving_model

    with pytest.raises(ValueError, match=said):
        export_serving_model(made.model, made.transform, tmp_path / "model", signatures=[asked])


@pytest.mark.parametrize("made_of", [lambda outputs: outputs["kind"], lambda outputs: {}, lambda outputs: {"n": 3}])
def test_a_postprocess_that_gives_no_outputs(made: Made, tmp_path: Path, made_of: Any) -> None:
    from headrace.transforms.keras_graph import export_serving_model

    with pytest.raises(ValueError, match=r"signature 's': expected .* from postprocess"):
        export_serving_model(
            made.model, made.transform, tmp_path / "model", signatures=[ServingSignature("s")], postprocess=made_of
        )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([ServingSignature("serving_default")], "every model has it already"),
        ([ServingSignature("a b")], "expected a name of letters"),
        ([ServingSignature("a", key="k", method="classify")], "answers carry no key"),
        ([ServingSignature("a", labels=["x"], method="regress")], "has no classes"),
        ([ServingSignature("a", top_k=0)], "top_k of at least 1, received 0"),
        ([ServingSignature("a", labels=[])], "received an empty list"),
        ([ServingSignature("a"), ServingSignature("a", key="k")], "two signatures are named 'a'"),
    ],
)
def test_what_fits_no_model(asked: list[ServingSignature], said: str) -> None:
    assert any(said in what for what, _ in signature_problems(asked))
    assert not list(signature_problems(SIGNATURES))
