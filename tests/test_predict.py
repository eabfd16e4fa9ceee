"""The exported classifier, and what people run with it."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import ROOT, change, python, restore, run, settings, stages_run
from PIL import Image
from written import png16, tiff

from littledata.core import environment, files, params
from littledata.export import assemble, quantize, to_onnx
from littledata.networks import backbone, keras, models, preprocessing
from littledata.pictures import deep, images
from littledata.predict import predict
from littledata.scores import levels, metrics, predicted
from littledata.shards import rows
from littledata.splits import dataset
from littledata.training import evaluate

NOTHING = {"dropout": 0.0, "l1": 0.0, "l2": 0.0}


@pytest.fixture(scope="module")
def pictures(photos, tmp_path_factory) -> Path:
    """A folder of four photos, two of them deeper, a file that is none, and one that is broken."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "much deeper").mkdir()
    names = "cat 10.jpg", "cat 9.JPG", "much deeper/hündchen.jpg", "much deeper/x,y.jpg"
    contents = [*photos["cat"][:2], *photos["dog"][:2], b"nothing to see", photos["dog"][2][:200]]
    for name, data in zip((*names, "notes.txt", "broken.jpg"), contents):
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def call(light, capsys, monkeypatch):
    """What `predict` prints, on both streams, when it is called in a folder."""

    def call(*words, folder: Path = ROOT, given: str = "", status: int = 0) -> tuple[str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["predict", "--model", str(light), *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        try:
            predict.cli()
            ended = 0
        except SystemExit as end:
            ended = end.code
        printed, errors = capsys.readouterr()
        if isinstance(ended, str):
            ended, errors = 1, f"{errors}{ended}\n"
        assert (ended or 0) == status, printed + errors
        return printed, errors

    return call


def test_the_classifier_is_the_trained_model_with_its_preprocessing(pipeline):
    """On every test photo: ONNX Runtime, the Keras file, and VGG16 with the level that was chosen on top of it."""
    level, _ = levels.handed_out(pipeline / levels.CHOICE)
    size = settings(pipeline)["image_size"]
    photos = dataset.of_split(dataset.read_manifest(pipeline / dataset.MANIFEST), "test")
    paths = [pipeline / photo.path for photo in photos]
    pixels = np.stack([images.resize(images.decode(path.read_bytes(), size), size) for path in paths])
    classifier = predict.Classifier(pipeline / assemble.ONNX)
    computed = classifier.probabilities(pixels)
    whole = keras.saving.load_model(pipeline / assemble.KERAS)
    np.testing.assert_allclose(whole.predict_on_batch(pixels), computed, atol=1e-4)

    network = backbone.load("VGG16", pipeline / assemble.WEIGHTS)
    below = backbone.below(network, ["block5"]) if level == "finetune" else network
    tuned = keras.saving.load_model(pipeline / assemble.model_of(level), compile=False)
    trained = models.probabilities(tuned, below.predict_on_batch(keras.applications.vgg16.preprocess_input(pixels.astype(float))))
    np.testing.assert_allclose(computed, trained, atol=1e-4)

    with open(pipeline / "data/predictions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["level"] == level and row["file"].startswith("test/")]
    assert [row["file"] for row in rows] == [photo.file for photo in photos]
    evaluated = [[float(row["probability_cat"]), float(row["probability_dog"])] for row in rows]
    np.testing.assert_allclose(computed, evaluated, atol=0.01)  # those are of activations that were cached as float16


def test_the_other_level_is_handed_out_when_it_is_asked_for_and_nothing_trains(pipeline):
    chosen, _ = levels.handed_out(pipeline / levels.CHOICE)
    other = {"top": "finetune", "finetune": "top"}[chosen]
    change(pipeline, export__level=other)
    try:
        output = run(pipeline, "dvc", "repro", "--all-pipelines")
        assert sorted(stages_run(output)) == ["card", "choose", "export", "gallery", "quantize"], output
        about = predict.Classifier(pipeline / assemble.ONNX).about
        assert about["level"] == {"name": levels.LEVELS[other], "why": "export.level names it"}
        assert f"it is level {levels.LEVELS[other]}: export.level names it" in (pipeline / "REPORT.md").read_text()
        names, _, expected, _ = predicted.read(other, "test", pipeline / predicted.PREDICTIONS)
        size = settings(pipeline)["image_size"]
        pixels = [images.square((pipeline / dataset.PHOTOS / name).read_bytes(), size) for name in names]
        found = predict.Classifier(pipeline / assemble.ONNX).probabilities(np.stack(pixels))
        np.testing.assert_allclose(found, expected, atol=0.01)
    finally:
        restore(pipeline)
        run(pipeline, "dvc", "checkout", "--quiet")


@pytest.mark.parametrize("pooling", ["flatten", "average"])
@pytest.mark.parametrize("classes", [2, 3])
def test_every_classifier_and_preprocessing_can_be_exported(pooling, classes):
    below = backbone.below(backbone.build("VGG16", 48), params.BLOCKS[2:])
    given = params.Top.model_construct(pooling=pooling, units=5, dropout=0.5, l1=0.0, l2=0.0)
    top = models.top(below.output_shape[1:], classes, given)
    parts = [preprocessing.preprocessing("VGG16", "rescale"), below, top]
    pixels = np.random.default_rng(1).integers(0, 256, (4, 48, 48, 3), np.uint8)
    expected = assemble.to_keras(parts, 48, 1).predict_on_batch(pixels)
    assert expected.shape == (4, classes)
    session = onnxruntime.InferenceSession(to_onnx.convert(parts, 48, 1, {}).SerializeToString())
    np.testing.assert_allclose(session.run(None, {"pixels": pixels})[0], expected, atol=1e-5)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_photos_become_squares_as_the_file_says(light, photos, tmp_path, fit):
    model = onnx.load(light)
    about = json.loads(model.metadata_props[0].value)
    assert about["fit"] == "squash"
    onnx.helper.set_model_props(model, {"about": json.dumps(about | {"fit": fit})})
    onnx.save(model, tmp_path / "fitted.onnx")
    with Image.open(io.BytesIO(photos["cat"][0])) as image:
        wide = image.crop((0, 0, 64, 30))
    file = io.BytesIO()
    wide.save(file, "PNG")
    assert np.array_equal(predict.Classifier(tmp_path / "fitted.onnx").read(file.getvalue()), images.resize(wide, 64, fit))


def test_12_bit_photos_and_their_8_bit_copies_get_the_same_answers(pipeline, photos, monkeypatch):
    """Half of the set as 12-bit PNG, half as TIFF: drawn, exported, predicted, and read by `evaluate`."""
    monkeypatch.chdir(pipeline)
    copies, deeper, archive = {}, {}, Path("data/raw/photos.zip")
    for kind, of_kind in photos.items():
        for number, data in enumerate(of_kind):
            with Image.open(io.BytesIO(data)) as image:
                grey = np.asarray(image.convert("L"))
            name = f"train/{kind}.{number}.{'png' if number % 2 else 'tif'}"
            deeper[name] = (png16 if number % 2 else tiff)(grey.astype(np.uint16) << 4 | grey >> 4)
            Image.fromarray(grey).save(file := io.BytesIO(), "PNG")
            copies[name] = file.getvalue()
    archive.unlink()
    files.write_zip(archive, deeper.items())
    try:
        run(pipeline, "stages.subsample")
        assert json.loads(deep.DEPTH.read_text()) == {"integer": [0, 4095], "float": None}
        run(pipeline, "stages.publish.export")
        classifier = predict.Classifier(assemble.ONNX)
        tested = dataset.of_split(dataset.read_manifest(), "test")
        twelve = np.stack([classifier.read(photo.path.read_bytes()) for photo in tested])
        eight = np.stack([classifier.read(copies[photo.original]) for photo in tested])
        assert np.array_equal(twelve, eight) and eight.std() > 30
        small = keras.saving.load_model("models/small_cnn.keras", compile=False)
        seen = evaluate.inputs_of("small_cnn", small, tested, "squash")
        assert np.array_equal(seen[:, 0], [images.square(copies[photo.original], small.input_shape[1]) for photo in tested])
    finally:
        restore(pipeline)


def test_a_file_that_was_exported_before_predicts_the_same(tmp_path):
    """tests/exported.onnx was written by the code of 2026-12-01, commit 3dba778, as were these answers: five crops, both ways of
    pooling, scaled features. And files from before ranges, crops and ways to become square were kept say less of themselves."""
    classifier = predict.Classifier(ROOT / "tests/exported.onnx")
    pixels = np.random.default_rng(2).integers(0, 256, (3, 36, 36, 3), np.uint8)
    pixels[1] //= 3
    pixels[2, :, :18] = 200
    expected = [
        [0.4743298590183258, 0.5256701707839966],
        [0.6280109286308289, 0.37198907136917114],
        [0.3776708245277405, 0.6223291754722595],
    ]
    np.testing.assert_allclose(classifier.probabilities(pixels), expected, atol=1e-6)
    twelve = png16(np.full((32, 64), 4095, np.uint16))
    assert classifier.classes == ["cat", "dog"] and classifier.fit == "crop" and classifier.read(twelve).min() == 255

    model = onnx.load(ROOT / "tests/exported.onnx")
    onnx.helper.set_model_props(model, {"about": json.dumps({"classes": ["cat", "dog"], "image_size": 36})})
    onnx.save(model, tmp_path / "older.onnx")
    older = predict.Classifier(tmp_path / "older.onnx")
    assert older.fit == "squash" and older.read(twelve).max() == 16  # of 255, where nothing says that 4095 is white
    assert older.probabilities(pixels).tobytes() == classifier.probabilities(pixels).tobytes()


def test_a_layer_that_no_network_here_has_is_refused():
    with pytest.raises(TypeError, match="odd is a UpSampling2D"):
        to_onnx.convert([keras.layers.UpSampling2D(name="odd")], 48, 1, {})


def test_the_small_classifier_says_nearly_the_same(pipeline, photos):
    with open(pipeline / "metrics/int8.csv", newline="") as file:
        float32, int8 = csv.DictReader(file)
    assert float(int8["same_class_as_float32"]) >= 0.8 and 0 <= float(int8["accuracy"]) <= 1
    tested = metrics.read(pipeline / metrics.SCORES)[levels.handed_out(pipeline / levels.CHOICE)[0]]["test"]
    assert all(float(float32[name]) == pytest.approx(tested[name], abs=1e-5) for name in metrics.FIELDS)
    small, large = pipeline / quantize.INT8, pipeline / assemble.ONNX
    assert small.stat().st_size < 0.3 * large.stat().st_size
    one, other = (predict.Classifier(file) for file in (small, large))
    pixels = one.read(photos["cat"][0])[None]
    np.testing.assert_allclose(one.probabilities(pixels), other.probabilities(pixels), atol=0.1)
    assert one.about == other.about


def test_the_files_say_what_they_are(pipeline, call):
    about = json.loads(call("--about", "--model", pipeline / assemble.ONNX)[0])
    with zipfile.ZipFile(pipeline / assemble.KERAS) as archive:
        assert json.loads(archive.read("about.json")) == about
    assert about["classes"] == ["cat", "dog"] and about["data"]["photos"] == {"train": 48, "validation": 20, "test": 16}
    scores = metrics.read(pipeline / metrics.SCORES)[levels.handed_out(pipeline / levels.CHOICE)[0]]
    assert about["metrics"] == {split: {name: of[name] for name in of if name != "n"} for split, of in scores.items()}
    assert list(about["metrics"]["test"])[:3] == ["accuracy", "accuracy_low", "accuracy_high"]


def names(printed: str) -> list[str]:
    return [line.split("  ", 2)[2] for line in printed.splitlines()]


def test_a_folder_in_order_and_what_is_broken_on_the_other_stream(call, pictures):
    printed, errors = call(pictures, status=1)
    ordered = "cat 9.JPG", "cat 10.jpg", "much deeper/hündchen.jpg", "much deeper/x,y.jpg"
    assert names(printed) == [f"{pictures}/{name}" for name in ordered]
    assert all(re.match(r"(cat|dog)  (0\.[5-9]\d\d|1\.000)  /", line) for line in printed.splitlines())
    broken, left_out, last = errors.splitlines()
    assert left_out == "left out: 1 .txt"
    assert broken.startswith(f"{pictures}/broken.jpg: can't be decoded")
    assert re.fullmatch(r"5 pictures, [\d.]+ a second, 1 could not be read", last)


def test_globs_lists_and_paths_from_the_folder_one_is_in(call, pictures, tmp_path):
    assert names(call("*.JPG", "**/x*", folder=pictures)[0]) == ["cat 9.JPG", "much deeper/x,y.jpg"]
    assert names(call("-", folder=pictures, given="cat 10.jpg\n\ncat 9.JPG\r\n")[0]) == ["cat 10.jpg", "cat 9.JPG"]
    by_nul = tmp_path / "a\nb.jpg", pictures / "cat 9.JPG"
    shutil.copy(by_nul[1], by_nul[0])
    printed, _ = call("-", "--format", "json", given="\0".join(map(str, by_nul)) + "\0")
    assert [json.loads(line)["file"] for line in printed.splitlines()] == list(map(str, by_nul))
    printed, errors = call("nowhere.jpg", "no*thing", "cat 9.JPG", folder=pictures, status=1)
    assert names(printed) == ["cat 9.JPG"]
    assert errors.splitlines()[:2] == ["nowhere.jpg: No such file or directory", "no*thing: No such file or directory"]


def test_pictures_are_known_by_what_is_in_them_and_what_is_none_is_counted(call, photos, tmp_path):
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "none").mkdir()
    for name in "scan", "phone.jfif", "old.JPE", "@eaDir/thumbnail.jpg":
        (tmp_path / name).write_bytes(photos["cat"][0])
    (tmp_path / "raw.nef").write_bytes(b"II*\0" + bytes(400))
    for name in "film.mov", "other.mov", "none/prices.xlsx", "none/notes":
        (tmp_path / name).write_bytes(b"x" * 100)
    found, errors = call(".", folder=tmp_path, status=1)
    assert [line.split()[-1] for line in found.splitlines()] == ["./old.JPE", "./phone.jfif", "./scan"]
    assert "./raw.nef: a RAW photo (Nikon NEF)" in errors
    left = next(line for line in errors.splitlines() if line.startswith("left out: "))
    assert {"2 .mov", "1 .xlsx", "1 without an ending", "1 in @eaDir"} == set(left.removeprefix("left out: ").split(", "))
    found, errors = call("none", folder=tmp_path, status=1)
    assert not found and errors.splitlines()[-2:] == ["left out: 1 .xlsx, 1 without an ending", "no picture in none"]


def test_csv_and_json_say_the_same(call, pictures):
    rows = list(csv.DictReader(io.StringIO(call(pictures / "much deeper", "--format", "csv")[0])))
    found = [json.loads(line) for line in call(pictures / "much deeper", "--format", "json")[0].splitlines()]
    expected = [f"{pictures}/much deeper/{name}" for name in ("hündchen.jpg", "x,y.jpg")]
    assert [row["file"] for row in rows] == [row["file"] for row in found] == expected
    for row, other in zip(rows, found):
        assert row["class"] == other["class"] and other["probability"] == max(other["probabilities"].values())
        assert {kind: float(row[f"probability_{kind}"]) for kind in ("cat", "dog")} == other["probabilities"]


@pytest.mark.parametrize("words, expected", [
    ([], "which pictures?"),
    (["x.jpg", "--model", "none.onnx"], "No classifier at none.onnx: `make repro` makes one"),
    (["x.jpg", "--model", "notes.txt"], "is no classifier that this project exported"),
])  # fmt: skip
def test_mistakes_are_one_line(call, pictures, words, expected):
    _, errors = call(*words, folder=pictures, status=1 if words else 2)
    assert expected in errors.splitlines()[-1]


def test_no_tensorflow_is_imported_and_a_reader_may_leave(light, pictures):
    code = "import sys; from littledata.predict import predict, submit; print({'tensorflow', 'keras', 'dvc'} & set(sys.modules))"
    assert python(code) == "set()\n"
    many = "\n".join([str(pictures / "cat 10.jpg")] * 2000)
    command = f"{sys.executable} -m littledata.predict.predict --model {light} - | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, input=many, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1 and "Traceback" not in done.stderr and "Broken" not in done.stderr


def test_only_a_few_pictures_are_read_ahead(light, photos):
    taken = []
    answers = rows.answers(predict.Classifier(light), range(100), lambda number: taken.append(number) or photos["cat"][number])
    for number, (item, _) in enumerate(answers):
        assert item == number and len(taken) <= number + 2 + rows.AHEAD + environment.THREADS


@pytest.mark.parametrize("file", [assemble.ONNX, quantize.INT8])
def test_a_picture_has_the_same_answer_beside_any_others(pipeline, photos, file):
    """To the last digit, in any order, and from several threads as from one."""
    classifier = predict.Classifier(pipeline / file)
    numbers = [*range(20), *range(19, 0, -3)]
    alone = [classifier.probabilities(classifier.read(photos["dog"][number])[None])[0].tobytes() for number in range(20)]
    answers = rows.answers(classifier, numbers, lambda number: photos["dog"][number])
    assert [(number, row.numbers.tobytes()) for number, row in answers] == [(number, alone[number]) for number in numbers]


@pytest.fixture
def kaggle(photos, tmp_path) -> Path:
    """A folder with the competition's two files, of three photos, the last one broken."""
    with zipfile.ZipFile(tmp_path / "test1.zip", "w") as archive:
        for number, data in ((10, photos["cat"][0]), (2, photos["dog"][0]), (3, b"\xff\xd8 broken")):
            archive.writestr(f"test1/{number}.jpg", data)
    (tmp_path / "sample.csv").write_text("id,label\n2,0.5\n3,0.5\n10,0.5\n")
    return tmp_path


def submit(light: Path, folder: Path, *words: str, check: bool = True) -> str:
    files = [str(folder / "test1.zip"), "--model", str(light), "--out", str(folder / "submission.csv")]
    return run(ROOT, "littledata.predict.submit", *files, *words, check=check)


def test_a_submission_has_the_samples_ids_and_clipped_probabilities(light, kaggle):
    printed = submit(light, kaggle, "--sample", str(kaggle / "sample.csv"), "--clip", "0.4")
    assert "test1/3.jpg: can't be" in printed or "test1/3.jpg: not a picture; its label is 0.5" in printed
    assert printed.splitlines()[-1].endswith(f"3 photos, the ids of {kaggle / 'sample.csv'}; 1 could not be read")
    header, *rows = csv.reader((kaggle / "submission.csv").read_text().splitlines())
    assert header == ["id", "label"] and [row[0] for row in rows] == ["2", "3", "10"] and rows[1][1] == "0.500000"
    assert all(0.4 <= float(label) <= 0.6 for _, label in rows)


@pytest.mark.parametrize("sample, expected", [
    ("id,label\n2,0.5\n3,0.5\n", "lacks 1 photos that .*test1.zip has: 10"),
    ("id,label\n2,0.5\n3,0.5\n10,0.5\n11,0.5\n", "lacks 1 photos that .*sample.csv asks for: 11"),
    ("name,label\n2,0.5\n", "begins with name,label"),
    ("id,label\nx,0.5\n", "can't be read as Kaggle's sampleSubmission.csv"),
])  # fmt: skip
def test_other_ids_than_the_samples_are_refused(light, kaggle, sample, expected):
    (kaggle / "sample.csv").write_text(sample)
    assert re.search(expected, submit(light, kaggle, "--sample", str(kaggle / "sample.csv"), check=False))
    assert not list(kaggle.glob("submission*"))
