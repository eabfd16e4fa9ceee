"""What `make publish` draws and writes: curves, near-duplicates, pictures, the model card."""

import csv
import io
import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import ROOT, run, settings
from PIL import Image

from littledata.core import tables
from littledata.features import activations
from littledata.networks import keras
from littledata.pictures import images
from littledata.report import answers, card, diagnose, gallery
from littledata.scores import choose, levels, metrics, predicted, temperature
from littledata.splits import dataset, duplicates


@pytest.fixture
def published(pipeline, monkeypatch) -> Path:
    """The folder of a whole run, as the folder that everything is read from."""
    monkeypatch.chdir(pipeline)
    return pipeline


def rows(path: str | Path) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))


def test_calibration_counts_every_photo_once_the_least_sure_first():
    sure = np.linspace(0.51, 1, 25)
    labels = np.arange(25) % 5 != 0  # every fifth one is wrong: class 0, where 1 is said
    confidence, accuracy, count = np.transpose(diagnose.calibration(labels.astype(int), np.column_stack([1 - sure, sure])))
    assert count.sum() == 25 and len(count) == 10 and np.all(np.diff(confidence) > 0) and accuracy @ count == pytest.approx(20)


def test_the_temperature_undoes_what_made_probabilities_too_sure():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1, (20_000, 3))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (rng.random((20_000, 1)) > honest.cumsum(1)).sum(1)
    too_sure = temperature.tempered(honest, 1 / 2.5)
    np.testing.assert_allclose(temperature.tempered(too_sure, 2.5), honest, atol=1e-3)
    assert temperature.best(labels, too_sure) == pytest.approx(2.5, rel=0.05)


def test_the_better_level_is_handed_out_and_says_why(published):
    labels = np.array([0, 1] * 20)
    good, bad = (np.column_stack([1 - p, p]) for p in (np.where(labels, 0.9, 0.1), np.where(labels, 0.7, 0.3)))
    why = "its log loss on 40 validation photos is 0.105, the other's 0.357"
    assert choose.best({"top": good, "finetune": bad}, labels) == ("top", why)
    assert choose.best({"top": bad, "finetune": good}, labels) == ("finetune", why)
    assert choose.best({"top": good, "finetune": good}, labels) == ("top", "fine-tuning won nothing on 40 validation photos")
    level, why = levels.handed_out()
    probabilities = {level: np.load(activations.VALIDATION / f"{level}.npy") for level in ("top", "finetune")}
    validation = dataset.of_split(dataset.read_manifest(), "validation")
    assert (level, why) == choose.best(probabilities, dataset.labels(validation, ["cat", "dog"]))
    assert why in card.CARD.read_text(encoding="utf-8")


def test_levels_of_cats_and_dogs_alone_stand_beside_the_blog(published):
    accuracies, scores = {row["level"]: float(row["accuracy"]) for row in rows("metrics/levels.csv")}, metrics.read()
    assert len(accuracies) == 9 and accuracies["3 fine-tuning: the blog"] == 0.94
    assert accuracies["3 fine-tuning: test"] == scores["finetune"]["test"]["accuracy"]
    assert not [name for name, _ in diagnose.accuracies(scores, ["bird", "dog"]) if "blog" in name]


@pytest.mark.parametrize("level", levels.LEVELS)
def test_curves_are_of_the_levels_test_photos(published, level):
    _, labels, *_ = predicted.read(level, "test")
    groups = rows(f"metrics/calibration/{level}.csv")
    right = sum(float(row["accuracy"]) * int(row["photos"]) for row in groups)
    assert sum(int(row["photos"]) for row in groups) == len(labels) == 16
    assert right / 16 == pytest.approx(metrics.read()[level]["test"]["accuracy"], abs=1e-5)
    curve = rows(f"metrics/precision_recall/{level}.csv")
    assert {row["class"] for row in curve} == {"dog"}
    # Where every photo is called a dog, all dogs are found, and half of the photos are dogs.
    assert (float(curve[0]["recall"]), float(curve[0]["precision"])) == (1, 0.5)


def test_a_photo_resized_recompressed_or_brightened_is_found_and_others_are_not(photos):
    files = photos["cat"][:20] + photos["dog"][:20]
    with Image.open(io.BytesIO(files[3])) as image:
        for changed in (image.resize((200, 150)), image.point(lambda value: min(255, value + 25)), image.rotate(90)):
            changed.save(file := io.BytesIO(), "JPEG", quality=60)
            files.append(file.getvalue())
    hashes, thumbnails = map(np.array, zip(*(duplicates.looks(images.decode(data)) for data in files), strict=True))
    assert {(one, other) for _, one, other in duplicates.pairs(hashes, thumbnails)} == {(3, 40), (3, 41), (40, 41)}


def test_hashes_that_differ_in_eight_bits_are_close():
    assert duplicates.close(np.array([0, 2**8 - 1, 2**17 - 1], np.uint64)).tolist() == [[0, 1]]  # 8, 17 and 9 bits apart
    same = duplicates.close(np.zeros(3 * duplicates.BLOCK + 1, np.uint64)).tolist()
    assert same == [list(pair) for pair in itertools.combinations(range(3 * duplicates.BLOCK + 1), 2)]
    assert duplicates.close(np.empty(0, np.uint64)).shape == (0, 2)


def test_near_duplicates_come_with_their_names(published):
    originals = {photo.file: photo.original for photo in dataset.read_manifest()}
    header, *pairs = csv.reader(duplicates.DUPLICATES.read_text(encoding="utf-8").splitlines())
    assert header == ["correlation", "file1", "original1", "file2", "original2"]
    assert all(originals[row[1]] == row[2] and originals[row[3]] == row[4] for row in pairs)


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


@pytest.mark.parametrize("name", ["mistakes", "gradcam", "augmentation"])
def test_pictures_show_photos(published, name):
    with Image.open(gallery.GALLERY / f"{name}.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20


def test_the_worst_mistakes_come_first_and_the_gallery_does_without_any(published):
    both = answers.read("finetune", ["validation", "test"])
    wrong, right = ([answer for answer in both if answer.right is kind] for kind in (False, True))
    assert len(both) == 36 and both == wrong + right and wrong
    for group in (wrong, right):
        assert [answer.truth for answer in group] == sorted(answer.truth for answer in group)
    worst = wrong[0]
    assert worst.photo.kind != worst.predicted and worst.truth == pytest.approx(1 - worst.confidence, abs=1e-5)
    assert f", said {worst.predicted} {worst.confidence:.3f}\n{worst.photo.split} " in gallery.caption(worst)

    figure, heat = gallery.mistakes("finetune", right, "crop", "a"), gallery.heat_maps("finetune", right, "crop", 1, "b")
    for drawn in (figure, heat):
        drawn.savefig(io.BytesIO())
    assert "mistook none" in figure.get_suptitle() and figure.get_supxlabel() == "a" and "\nb" in heat.get_supxlabel()
    overlays = [axis.images[1].get_array() for axis in heat.axes[1::2]]
    assert len(overlays) == 4 and all(overlay.min() >= 0 and 0.5 < overlay.max() <= 1 for overlay in overlays)


def test_the_card_has_every_level_param_and_class(published):
    text = card.CARD.read_text(encoding="utf-8")
    for score in (score for splits in metrics.read().values() for score in splits.values()):
        assert f"| {score['accuracy']:.3f} ({score['accuracy_low']:.3f}-{score['accuracy_high']:.3f}) | " in text
    assert "| cat | 24 | 10 | 8 |" in text and f"| `finetune.lr` | `{settings(published)['finetune']['lr']}` |" in text
    _, labels, probabilities, classes = predicted.read(levels.handed_out()[0], "test")
    for label, kind in enumerate(classes):
        missed = int((probabilities.argmax(1) != labels)[labels == label].sum())
        assert f"- {kind}: of 8 test photos, {f'{missed} taken for' if missed else 'none'}" in text


def test_the_cards_pictures_repeat_to_the_byte_and_pages_show_them(published):
    before = {picture: picture.read_bytes() for picture in card.PICTURES.values()}
    run(published, "stages.publish.card")
    assert {picture: picture.read_bytes() for picture in before} == before
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    for picture, content in before.items():
        assert len(content) < 100_000 and ElementTree.fromstring(content).tag.endswith("svg")
        assert f"]({picture})" in card.CARD.read_text(encoding="utf-8")
        assert f"]({picture})" in pages or f"](../{picture})" in pages


def test_what_was_skipped_and_near_duplicates_are_drawn(published):
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
    for figure in (gallery.skipped([[name, "the file is empty"]]), gallery.sheet("", "", [(np.zeros((4, 4, 3), np.uint8), name)])):
        figure.savefig(io.BytesIO())
        assert name in (figure.axes[0].get_title(), *(text.get_text() for text in figure.axes[0].texts))
    monkeypatch.chdir(tmp_path)
    note = {"source": "path", "sha256": "0", "terms": "own", "left_out": {".mov": 2, "in @eaDir": 1}}
    copies = [["a", "a copy: the same bytes as b"], ["c", "a copy: the same bytes as d"]]
    tables.write(tmp_path / "data/skipped.csv", ["file", "reason"], copies)
    tables.write(tmp_path / "data/duplicates.csv", ["correlation"], [])
    (tmp_path / "data/raw").mkdir()
    (tmp_path / "data/raw/source.json").write_text(json.dumps(note))
    text = card.data([dataset.Photo("train/x/1.jpg", "$c|at*", "train", "x", "0")])
    assert "| \\$c\\|at\\* | 1 |" in text
    assert "\n- 2 skipped: a copy\n- left out, as no photos: 2 .mov, 1 in @eaDir" in text
