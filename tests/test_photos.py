"""Pictures as people have them: what can't be used is skipped and listed, everything else becomes right RGB."""

import csv
import io
import zipfile
from collections import Counter

import numpy as np
import pytest
from conftest import change, clone, jpeg, run
from PIL import Image

from stages import subsample
from stages.networks import models
from stages.photos import dataset, images

STRENGTH = {"flip": True, "shear": 0.2, "zoom": 0.2, "rotation": 10, "shift": 0.05, "colour": 0.2}
STILL = dict.fromkeys(STRENGTH, 0) | {"flip": False}


def augment(pixels, strength, rng):
    return images.augment(images.padded(pixels), len(pixels), strength, rng)


def png(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


@pytest.fixture
def photo(photos) -> Image.Image:
    return Image.open(io.BytesIO(photos["cat"][0])).convert("RGB")


def difference(data: bytes, photo: Image.Image) -> float:
    """Mean difference in grey levels between a decoded picture and the photo it was made of."""
    return np.abs(np.asarray(images.decode(data), float) - np.asarray(photo, float)).mean()


def test_greyscale_cmyk_palette_and_transparency_become_rgb(photo):
    grey = photo.convert("L")
    assert difference(jpeg(grey), grey.convert("RGB")) < 3
    assert difference(jpeg(photo.convert("CMYK")), photo) < 5
    assert difference(png(photo.quantize(256)), photo) < 8
    assert difference(png(photo.convert("RGBA")), photo) == 0
    clear = Image.new("RGBA", (64, 64), (10, 20, 30, 0))
    assert np.asarray(images.decode(png(clear))).min() == 255  # over white, not the colour that nobody sees


@pytest.mark.parametrize("kind", ["WEBP", "HEIF", "AVIF", "TIFF", "GIF", "BMP"])
def test_other_formats_are_read(photo, kind):
    file = io.BytesIO()
    photo.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert difference(file.getvalue(), photo) < 8


def test_16_bit_keeps_its_tones(photo):
    grey = np.asarray(photo.convert("L"))
    deep = png(Image.fromarray(grey.astype(np.uint16) * 257))
    assert np.array_equal(np.asarray(images.decode(deep))[..., 0], grey)


def test_exif_orientation_is_applied(photo):
    turned = Image.Exif()
    turned[0x0112] = 6
    sideways = jpeg(photo.transpose(Image.Transpose.ROTATE_90), exif=turned)
    assert difference(sideways, photo) < 6


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is a text file", "not a picture"),
        (jpeg(Image.effect_noise((64, 64), 50))[:900], "can't be decoded"),
        (png(Image.new("RGB", (1, 1))), "too small"),
        (png(Image.new("1", (20000, 10000))), "absurdly large"),
    ],
    ids=["zero bytes", "text", "truncated", "one pixel", "bomb"],
)
def test_what_is_no_photo_says_why(data, reason):
    with pytest.raises(images.UnreadablePhoto, match=reason):
        images.decode(data)


def test_a_large_photo_decoded_small_stays_the_same_picture(photo):
    large = jpeg(photo.resize((1600, 1600), Image.Resampling.BICUBIC))
    fast, slow = images.resize(images.decode(large, 64), 64), images.resize(images.decode(large), 64)
    assert np.abs(fast.astype(float) - slow).mean() < 2


@pytest.mark.parametrize("upright", [False, True])
def test_a_photo_becomes_a_square_in_three_ways(upright):
    """Three squares side by side: red, green, blue."""
    colours = np.repeat(np.uint8([[255, 0, 0], [0, 255, 0], [0, 0, 255]]), 20, axis=0)
    pixels = np.broadcast_to(colours[None], (20, 60, 3))
    picture = Image.fromarray(pixels.transpose(1, 0, 2).copy() if upright else pixels.copy())
    found = {fit: images.resize(picture, 60, fit) for fit in ("squash", "crop", "pad")}
    assert np.array_equal(images.resize(picture, 60), found["squash"])
    ahead = {fit: (array[:, 30] if upright else array[30]) for fit, array in found.items()}  # along the longer side
    assert np.array_equal(ahead["squash"], colours) and np.array_equal(ahead["pad"], colours)
    assert (ahead["crop"][4:-4] == [0, 255, 0]).all()
    across = found["pad"][30] if upright else found["pad"][:, 30]
    assert (across[20:40] == [0, 255, 0]).all()
    bars = np.concatenate([across[:20], across[40:]])
    assert np.abs(images.preprocess(bars, "imagenet")).max() < 0.5


def test_augmentation_without_strength_changes_nothing(photo):
    pixels = np.asarray(photo)
    assert np.array_equal(augment(pixels, STILL, np.random.default_rng(0)), pixels)


def test_augmentation_flips_half_and_nothing_else_when_told_so(photo):
    pixels = np.asarray(photo)
    flipped = [
        np.array_equal(augment(pixels, STILL | {"flip": True}, images.random_numbers(1, view, "ab" * 32)), pixels)
        for view in range(200)
    ]
    assert 70 < sum(flipped) < 130
    mirrored = augment(pixels, STILL | {"flip": True}, images.random_numbers(1, flipped.index(False), "ab" * 32))
    assert np.array_equal(mirrored, pixels[:, ::-1])


def test_an_augmented_view_depends_on_seed_view_and_photo_alone(photo):
    pixels = np.asarray(photo)

    def view(*key):
        return augment(pixels, STRENGTH, images.random_numbers(*key)).tobytes()

    assert view(1, 1, "ab" * 32) == view(1, 1, "ab" * 32)
    assert len({view(1, 1, "ab" * 32), view(2, 1, "ab" * 32), view(1, 2, "ab" * 32), view(1, 1, "cd" * 32)}) == 4


@pytest.fixture
def drawn(photos, photo, tmp_path):
    """A draw from an archive with good photos, all kinds of bad ones and duplicates; the manifest and the skipped."""
    folder = clone(tmp_path)
    bad = {
        "train/cat.900.jpg": b"",
        "train/cat.901.jpg": photos["cat"][0][:700],
        "train/cat.902.jpg": b"a text file",
        "train/cat.903.png": png(Image.new("RGB", (1, 1))),
        "train/dog.904.jpg": photos["cat"][3],
        "train/dog.905.jpg": photos["dog"][3],
    }
    (folder / "data/raw").mkdir()
    with zipfile.ZipFile(folder / "data/raw/photos.zip", "w") as archive:
        for kind in photos:
            for number, data in enumerate(photos[kind][:50]):
                archive.writestr(f"train/{kind}.{number}.jpg", data)
        for name, data in bad.items():
            archive.writestr(name, data)
    (folder / "data/raw/source.json").write_text('{"layout": "name", "classes": {}}')
    change(folder, subsample__train=30, subsample__validation=10, subsample__test=10)

    def draw(**settings):
        change(folder, **settings)
        run(folder, "stages.subsample")
        with open(folder / "data/manifest.csv", newline="") as file, open(folder / "data/skipped.csv", newline="") as skips:
            return list(csv.DictReader(file)), {row["file"]: row["reason"] for row in csv.DictReader(skips)}

    return draw


def test_bad_photos_are_skipped_and_listed_and_duplicates_never_straddle(drawn):
    # dog.905 is dog.3's copy, and nobody knows what cat.3 and dog.904 show
    manifest, skipped = drawn(subsample__train=29)
    assert len(manifest) == 98 and len({row["sha256"] for row in manifest}) == 98
    assert skipped.keys() <= {f"train/{name}" for name in ("cat.900.jpg", "cat.901.jpg", "cat.902.jpg", "cat.903.png")} | {
        "train/cat.3.jpg", "train/dog.904.jpg", "train/dog.905.jpg",
    }  # fmt: skip
    assert skipped["train/dog.905.jpg"] == "a copy: the same bytes as train/dog.3.jpg"
    assert skipped["train/cat.3.jpg"] == "in two classes: the same bytes as train/dog.904.jpg"


def test_the_archives_order_is_the_blogs(drawn):
    manifest, _ = drawn(subsample__order="archive", subsample__train=29)
    for kind in ("cat", "dog"):
        expected = [f"train/{kind}.{number}.jpg" for number in range(50) if (kind, number) != ("cat", 3)]
        for split, start, end in (("train", 0, 29), ("validation", 29, 39), ("test", 39, 49)):
            assert {r["original"] for r in manifest if (r["class"], r["split"]) == (kind, split)} == set(expected[start:end])


def test_another_seed_is_another_draw_and_the_same_seed_the_same(drawn):
    first, _ = drawn(subsample__seed=1, subsample__train=25)
    again, _ = drawn(subsample__seed=1)
    other, _ = drawn(subsample__seed=2)
    assert first == again and first != other


def test_shares_of_every_class_are_drawn_and_no_photo_twice(drawn):
    manifest, _ = drawn(subsample__train=0.5, subsample__validation=0.25, subsample__test=0.2)
    sizes = Counter((row["split"], row["class"]) for row in manifest)
    for kind, found in (("cat", 49), ("dog", 50)):  # usable ones
        expected = subsample.counts({"train": 0.5, "validation": 0.25, "test": 0.2}, found)
        assert {split: sizes[split, kind] for split in dataset.SPLITS} == expected
    assert len({row["sha256"] for row in manifest}) == len(manifest)


@pytest.mark.parametrize(
    "shares, found, sizes",
    [
        ((0.6, 0.2, 0.2), 300, (180, 60, 60)),
        ((0.6, 0.2, 0.2), 4, (2, 1, 1)),
        ((0.33, 0.33, 0.34), 50, (16, 17, 17)),  # rounded one by one they would be 16, 16 and 17
        ((0.5, 0.2, 0.1), 10, (5, 2, 1)),
        ((1000, 400, 200), None, (1000, 400, 200)),
    ],
)
def test_how_many_photos_a_share_is(shares, found, sizes):
    assert tuple(subsample.counts(dict(zip(dataset.SPLITS, shares)), found).values()) == sizes


@pytest.mark.parametrize(
    "shares, message",
    [((0.6, 0.3, 0.2), "add up to 1.1"), ((0.6, 100, 0.2), "give three numbers, or three shares")],
)
def test_shares_that_make_no_sense_are_one_line(drawn, shares, message):
    with pytest.raises(AssertionError, match=message):
        drawn(**{f"subsample__{split}": share for split, share in zip(dataset.SPLITS, shares)})


def test_with_class_weights_every_class_counts_alike():
    labels = np.array([0] * 30 + [1] * 3 + [2] * 12)
    weights = models.class_weights(labels)
    assert [weights[labels == n].sum() for n in range(3)] == pytest.approx([15, 15, 15])
    assert models.class_weights(np.array([0, 1, 1, 0])).tolist() == [1, 1, 1, 1]


def test_the_rest_is_every_photo_that_no_other_split_has(drawn):
    manifest, _ = drawn(subsample__train=20, subsample__validation=10, subsample__test=5, subsample__rest=True)
    without, _ = drawn(subsample__rest=False)
    assert [row for row in manifest if row["split"] != "rest"] == without
    assert Counter(row["split"] for row in manifest) == {"train": 40, "validation": 20, "test": 10, "rest": 29}
    assert len({row["sha256"] for row in manifest}) == 99
