"""What `make publish` draws and writes: curves, near-duplicates, pictures, the model card."""

import csv
import io
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import ROOT, run, settings
from PIL import Image

from littledata.core import tables
from littledata.features import activations
from littledata.networks import keras
from littledata.pictures import images
from littledata.report import card, diagnose, gallery
from littledata.scores import choose, levels, metrics, predicted, temperature
from littledata.splits import dataset, duplicates


def rows(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_calibration_counts_every_photo_once_the_least_sure_first():
    sure = np.linspace(0.51, 1, 25)
    labels = np.arange(25) % 5 != 0  # every fifth one is wrong: class 0, where 1 is said
    found = diagnose.calibration(labels.astype(int), np.column_stack([1 - sure, sure]))
    assert sum(count for *_, count in found) == 25 and len(found) == 10
    assert [row[0] for row in found] == sorted(row[0] for row in found)
    assert sum(accuracy * count for _, accuracy, count in found) == pytest.approx(20)


def test_the_temperature_undoes_what_made_probabilities_too_sure():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1, (20_000, 3))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (rng.random((20_000, 1)) > honest.cumsum(1)).sum(1)
    too_sure = temperature.tempered(honest, 1 / 2.5)
    np.testing.assert_allclose(temperature.tempered(too_sure, 2.5), honest, atol=1e-3)
    assert temperature.best(labels, too_sure) == pytest.approx(2.5, rel=0.05)


@pytest.mark.parametrize("level", levels.LEVELS)
def test_every_level_is_as_sure_as_is_best_for_validation_photos(pipeline, level):
    _, labels, said, _ = predicted.read(level, "validation", pipeline / predicted.PREDICTIONS)
    losses = [temperature.losses(labels, temperature.tempered(said, factor)).mean() for factor in (0.8, 1, 1.25)]
    found = temperature.best(labels, said)
    assert losses[1] <= min(losses) + 2e-3 and (found == pytest.approx(1, abs=0.1) or found < 0.3 or found > 15)


def test_the_better_level_is_handed_out_and_says_why(pipeline):
    labels = np.array([0, 1] * 20)
    good, bad = (np.column_stack([1 - p, p]) for p in (np.where(labels, 0.9, 0.1), np.where(labels, 0.7, 0.3)))
    assert choose.best({"top": good, "finetune": bad}, labels)[0] == "top"
    assert choose.best({"top": bad, "finetune": good}, labels) == (
        "finetune",
        "its log loss on 40 validation photos is 0.105, the other's 0.357",
    )
    assert choose.best({"top": good, "finetune": good}, labels) == ("top", "fine-tuning won nothing on 40 validation photos")
    level, why = levels.handed_out(pipeline / levels.CHOICE)
    found = {level: np.load(pipeline / f"data/validation/{level}.npy") for level in ("top", "finetune")}
    manifest = dataset.read_manifest(pipeline / dataset.MANIFEST)
    assert (level, why) == choose.best(found, dataset.labels(dataset.of_split(manifest, "validation"), ["cat", "dog"]))
    assert why in (pipeline / card.CARD).read_text()


def test_levels_stand_beside_the_blog(pipeline):
    found = {row["level"]: float(row["accuracy"]) for row in rows(pipeline / "metrics/levels.csv")}
    scores = metrics.read(pipeline / metrics.SCORES)
    assert len(found) == 9 and found["3 fine-tuning: the blog"] == 0.94
    assert found["3 fine-tuning: test"] == scores["finetune"]["test"]["accuracy"]


@pytest.mark.parametrize("level", levels.LEVELS)
def test_curves_are_of_the_levels_test_photos(pipeline, level):
    _, labels, probabilities, classes = predicted.read(level, "test", pipeline / predicted.PREDICTIONS)
    assert len(labels) == 16 and classes == ["cat", "dog"]
    bins = rows(pipeline / f"metrics/calibration/{level}.csv")
    right = sum(float(row["accuracy"]) * int(row["photos"]) for row in bins)
    scores = metrics.read(pipeline / metrics.SCORES)[level]["test"]
    assert sum(int(row["photos"]) for row in bins) == 16 and right / 16 == pytest.approx(scores["accuracy"], abs=1e-5)
    curve = rows(pipeline / f"metrics/precision_recall/{level}.csv")
    assert {row["class"] for row in curve} == {"dog"}
    # Said of every photo: all dogs are found, and as many are dogs as there are.
    assert (float(curve[0]["recall"]), float(curve[0]["precision"])) == (1, 0.5)


def test_a_photo_resized_recompressed_or_brightened_is_found_and_others_are_not(photos, tmp_path):
    files = photos["cat"][:20] + photos["dog"][:20]
    with Image.open(io.BytesIO(files[3])) as image:
        changed = image.resize((200, 150)), image.point(lambda value: min(255, value + 25)), image.rotate(90)
    paths = []
    for number, data in enumerate(files):
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(data)
    for number, image in enumerate(changed):
        paths.append(tmp_path / f"changed{number}.jpg")
        image.save(paths[-1], quality=60)
    hashes, thumbnails = (
        np.array(column) for column in zip(*(duplicates.looks(images.decode(path.read_bytes())) for path in paths))
    )
    found = duplicates.pairs(hashes, thumbnails)
    assert {(one, other) for _, one, other in found} == {(3, 40), (3, 41), (40, 41)}


def test_hashes_that_are_close_are_found_as_by_a_comparison_of_all():
    random = np.random.default_rng(1)
    hashes = random.integers(0, 2**64, 3000, np.uint64)
    for number in range(600):  # up to 10 bits away from another, in any of the 64
        flipped = np.bitwise_or.reduce(np.uint64(1) << random.choice(64, number % 11, replace=False).astype(np.uint64))
        hashes[-1 - number] = hashes[number] ^ flipped
    hashes[1000:1010] = 0
    apart = np.bitwise_count(hashes[:, None] ^ hashes)
    expected = np.argwhere(np.triu(apart <= duplicates.BITS, 1))
    assert len(expected) > 500
    np.testing.assert_array_equal(duplicates.close(hashes), expected)
    assert duplicates.close(hashes[:0]).shape == (0, 2)


def test_near_duplicates_come_with_their_names(pipeline):
    files = {photo.file: photo.original for photo in dataset.read_manifest(pipeline / dataset.MANIFEST)}
    with open(pipeline / duplicates.DUPLICATES, newline="") as file:
        header, *found = csv.reader(file)
    assert header == ["correlation", "file1", "original1", "file2", "original2"]
    assert all(files[row[1]] == row[2] and files[row[3]] == row[4] for row in found)


@pytest.mark.parametrize("outputs, activation", [(1, "sigmoid"), (3, "softmax")])
def test_grad_cam_is_the_class_activation_map_where_that_is_known(outputs, activation):
    """With average pooling and one dense layer, gradients are the layer's weights: the map of Zhou et al., CVPR 2016."""
    convolution = keras.layers.Conv2D(4, 3, padding="same", activation="relu")
    dense = keras.layers.Dense(outputs, activation=activation)
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, dense(keras.layers.GlobalAveragePooling2D()(convolution(inputs))))
    photo = np.random.default_rng(1).normal(size=(1, 6, 6, 3)).astype("float32")
    features = np.asarray(convolution(photo))[0]
    for kind in range(max(2, outputs)):
        weights = np.asarray(dense.kernel)[:, kind] if outputs > 1 else np.asarray(dense.kernel)[:, 0] * (1 if kind else -1)
        expected = np.maximum(features @ weights, 0)
        seen = gallery.grad_cam(*gallery.halves(model), photo, kind)
        np.testing.assert_allclose(seen, expected / (expected.max() or 1), atol=1e-5)


def test_grad_cam_of_level_3(pipeline):
    network = gallery.halves(keras.saving.load_model(pipeline / "models/finetune.keras", compile=False))
    array, _ = activations.read(pipeline / activations.ACTIVATIONS, "test")
    cat, dog = (gallery.grad_cam(*network, array[0, :1], kind) for kind in (0, 1))
    assert cat.shape == dog.shape == (4, 4) and 0 <= min(cat.min(), dog.min()) and max(cat.max(), dog.max()) == 1
    assert not np.allclose(cat, dog)


def test_pictures_show_photos(pipeline):
    for name in ("mistakes", "gradcam", "augmentation"):
        with Image.open(pipeline / gallery.GALLERY / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 20, name


def test_the_worst_mistakes_come_first_and_sure_right_answers_last(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    found = gallery.answers("finetune")
    wrong = [answer for answer in found if not answer.right]
    assert len(found) == 36 and found[: len(wrong)] == wrong and wrong
    for some in (wrong, found[len(wrong) :]):
        assert [answer.own for answer in some] == sorted(answer.own for answer in some)
    assert f", said {'dog' if wrong[0].label == 0 else 'cat'} {wrong[0].sure:.3f}\n{wrong[0].split} " in wrong[0].caption


def test_the_gallery_without_a_mistake(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    right = [answer for answer in gallery.answers("finetune") if answer.right]
    picture = io.BytesIO()
    figure = gallery.mistakes("finetune", right, "crop", "for a reason")
    figure.savefig(picture)
    assert "mistook none" in figure.get_suptitle() and "for a reason" in figure.get_supxlabel()
    gallery.heat_maps("finetune", right, "crop", 1, "for a reason").savefig(picture)


def test_the_card_has_every_level_param_and_class(pipeline):
    card = (pipeline / "REPORT.md").read_text(encoding="utf-8")
    for level in metrics.read(pipeline / metrics.SCORES).values():
        for scores in level.values():
            assert f"| {scores['accuracy']:.3f} ({scores['accuracy_low']:.3f}-{scores['accuracy_high']:.3f}) | " in card
    assert "| cat | 24 | 10 | 8 |" in card and f"| `finetune.lr` | `{settings(pipeline)['finetune']['lr']}` |" in card
    level, _ = levels.handed_out(pipeline / levels.CHOICE)
    files, labels, probabilities, classes = predicted.read(level, "test", pipeline / predicted.PREDICTIONS)
    wrong = probabilities.argmax(1) != labels
    for number, kind in enumerate(classes):
        missed = int((wrong & (labels == number)).sum())
        assert (f"- {kind}: of 8 test photos, {missed} taken for" if missed else f"- {kind}: of 8 test photos, none") in card


def test_the_cards_pictures_repeat_to_the_byte_and_pages_show_them(pipeline):
    before = [(pipeline / picture).read_bytes() for picture in card.PICTURES.values()]
    run(pipeline, "stages.publish.card")
    assert [(pipeline / picture).read_bytes() for picture in card.PICTURES.values()] == before
    for picture, content in zip(card.PICTURES.values(), before):
        assert len(content) < 100_000 and ElementTree.fromstring(content).tag.endswith("svg")
        assert f"]({picture})" in (pipeline / "REPORT.md").read_text(encoding="utf-8")
        pages = [page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
        assert any(f"]({picture})" in page or f"](../{picture})" in page for page in pages)


def test_the_blogs_figures_stand_beside_cats_and_dogs_alone(pipeline):
    scores = metrics.read(pipeline / metrics.SCORES)
    assert [name for name, _ in diagnose.accuracies(scores, ["cat", "dog"]) if "blog" in name]
    assert not [name for name, _ in diagnose.accuracies(scores, ["bird", "dog"]) if "blog" in name]


def test_what_was_skipped_and_near_duplicates_are_drawn(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    skips = [[f"train/cat.{number}.jpg", "the file is empty"] for number in range(30)]
    one, other = (photo.file for photo in dataset.read_manifest()[:2])
    for figure, title in (
        (gallery.skipped(skips), "30 photos were skipped"),
        (gallery.skipped([]), "No photo was skipped"),
        (gallery.near_duplicates([["0.99", one, "a.jpg", other, "b.jpg"]] * 12), "Near-duplicates"),
        (gallery.near_duplicates([]), "No near-duplicates were found"),
    ):
        figure.savefig(io.BytesIO())
        assert figure.get_suptitle() == title
    texts = [text.get_text() for text in gallery.skipped(skips).axes[0].texts]
    assert len(texts) == 2 * gallery.LINES and texts[:2] == ["cat.0.jpg", "the file is empty"]


def test_names_are_no_formulas_and_no_markup(tmp_path, monkeypatch):
    """A $ begins a formula for Matplotlib, which fails on this one."""
    name = "$\\frac$ |*_`<b>.jpg"
    figure = gallery.skipped([[name, "the file is empty"]])
    figure.savefig(io.BytesIO())
    assert figure.axes[0].texts[0].get_text() == name
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    note = {"source": "path", "sha256": "0", "terms": "own", "left_out": {".mov": 2, "in @eaDir": 1}}
    (tmp_path / "data/raw/source.json").write_text(json.dumps(note))
    copies = [["a", "a copy: the same bytes as b"], ["c", "a copy: the same bytes as d"]]
    tables.write(tmp_path / "data/skipped.csv", ["file", "reason"], copies)
    tables.write(tmp_path / "data/duplicates.csv", ["correlation"], [])
    text = card.data([dataset.Photo("train/x/1.jpg", "$c|at*", "train", "x", "0")])
    assert "| \\$c\\|at\\* | 1 |" in text
    assert "\n- 2 skipped: a copy\n- left out, as no photos: 2 .mov, 1 in @eaDir" in text
