"""Pictures as people have them: what can't be used is skipped and listed, everything else becomes right RGB."""

import io
import json
import re
import zlib

import numpy as np
import pytest
from conftest import jpeg
from PIL import Image, ImageOps
from written import SIDEWAYS, chunk, exif, png16, tiff, with_chunk, with_segment

from littledata.networks import models
from littledata.pictures import deep, images

STRENGTH = {"flip": True, "shear": 0.2, "zoom": 0.2, "rotation": 10, "shift": 0.05, "colour": 0.2}
STILL = dict.fromkeys(STRENGTH, 0) | {"flip": False}


def augment(pixels, strength, rng):
    return images.augment(images.padded(pixels), len(pixels), strength, rng)


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
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
    assert difference(saved(photo.quantize(256)), photo) < 8
    assert difference(saved(photo.convert("RGBA")), photo) == 0
    clear = Image.new("RGBA", (64, 64), (10, 20, 30, 0))
    assert np.asarray(images.decode(saved(clear))).min() == 255  # over white, not the colour that nobody sees


@pytest.mark.parametrize("kind", ["WEBP", "HEIF", "AVIF", "TIFF", "GIF", "BMP"])
def test_other_formats_are_read(photo, kind):
    assert difference(saved(photo, kind, **({"lossless": True} if kind == "WEBP" else {})), photo) < 8


def test_a_large_photo_decoded_small_stays_the_same_picture(photo):
    large = jpeg(photo.resize((1600, 1600), Image.Resampling.BICUBIC))
    fast, slow = images.resize(images.decode(large, 64), 64), images.resize(images.decode(large), 64)
    assert np.abs(fast.astype(float) - slow).mean() < 2


TWELVE = deep.Depth(integer=(0, 4095))


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    """Noise, every shade of it: uint8 of shape (48, 64, 4), red, green, blue and alpha."""
    return np.random.default_rng(1).integers(0, 256, (48, 64, 4), np.uint8)


def twelve(pixels: np.ndarray) -> np.ndarray:
    """8 bits as 12: 0 stays 0, and 255 becomes 4095."""
    return pixels.astype(np.uint16) << 4 | pixels >> 4


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return pixels * share + 255 * (1 - share)


def decoded(data: bytes, depth: deep.Depth = deep.UNKNOWN) -> np.ndarray:
    return np.asarray(images.decode(data, depth=depth)).astype(float)


GREY_FILES = {
    "PNG": png16,
    "TIFF": tiff,
    "TIFF, the other byte first": lambda array: tiff(array, ">"),
    "TIFF, deflated": lambda array: tiff(array, deflate=True),
    "TIFF, the other byte first, deflated": lambda array: tiff(array, ">", deflate=True),
    "TIFF, signed": lambda array: tiff(array.astype(np.int16)),
    "TIFF, signed, the other byte first, deflated": lambda array: tiff(array.astype(np.int16), ">", deflate=True),
    "TIFF, 32 bits": lambda array: tiff(array.astype(np.uint32)),
    "TIFF, 32 bits, signed": lambda array: tiff(array.astype(np.int32)),
    "TIFF, 32 bits, signed, the other byte first, deflated": lambda array: tiff(array.astype(np.int32), ">", deflate=True),
    "TIFF, 0 is white": lambda array: tiff(4095 - array, photometric=0),
}


@pytest.mark.parametrize("kind", GREY_FILES)
def test_12_bit_greyscale_means_the_same_in_every_file(colours, kind):
    grey = colours[..., 0]
    data = GREY_FILES[kind](twelve(grey))
    assert images.extent(data) == deep.Extent(True, 0, 4095)
    assert np.array_equal(decoded(data, TWELVE), np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize("kind", list(GREY_FILES)[:5])
def test_16_bits_a_channel_keep_both_bytes(colours, kind):
    write = GREY_FILES[kind]
    assert np.array_equal(decoded(write(twelve(colours[..., :3])), TWELVE), colours[..., :3])
    assert np.array_equal(decoded(write(colours[..., :3].astype(np.uint16) * 257)), colours[..., :3])


def test_deep_transparency_is_laid_over_white(colours):
    rgb, alpha = colours[..., :3], colours[..., 3]
    grey, deep_alpha = rgb[..., :1], alpha[..., None].astype(np.uint16) * 257
    with_alpha = np.dstack([twelve(rgb), deep_alpha])
    for data, expected in (
        (png16(with_alpha), rgb),
        (png16(np.dstack([twelve(grey), deep_alpha])), grey),
        (tiff(with_alpha, extra=2), rgb),
        (tiff(with_alpha, ">", deflate=True, extra=2), rgb),
        (tiff(np.dstack([np.rint(twelve(rgb) * (alpha[..., None] / 255)).astype(np.uint16), deep_alpha]), extra=1), rgb),
    ):
        assert np.abs(decoded(data, TWELVE) - on_white(expected, alpha)).max() <= 1
    clear = tuple(int(value) for value in twelve(rgb)[5, 7])
    assert (decoded(png16(twelve(rgb), clear), TWELVE)[5, 7] == 255).all()
    assert (decoded(png16(twelve(grey[..., 0]), clear[:1]), TWELVE)[5, 7] == 255).all()


def test_8_bit_signed_and_float_mean_the_same_too(colours):
    grey = colours[..., 0]
    expected = np.stack([grey] * 3, axis=2)
    assert np.array_equal(decoded(tiff((grey.astype(int) - 128).astype(np.int8))), expected)
    share = (grey / 255).astype(np.float32)
    for data in (tiff(share), tiff(share, ">"), tiff(share, deflate=True), tiff(share, ">", deflate=True)):
        assert np.array_equal(decoded(data), expected)
    degrees = tiff(share * 40 - 20)
    assert np.array_equal(decoded(degrees, deep.depth_of([images.extent(degrees)])), expected)
    share[0, :3] = np.nan, np.inf, -np.inf
    assert images.extent(tiff(share)) == deep.Extent(False, 0, 1)
    assert decoded(tiff(share))[0, :3, 0].tolist() == [0, 255, 0]
    assert images.extent(tiff(share * np.nan)) is None


def test_without_a_known_range_a_deep_picture_is_read_by_what_its_file_could_hold():
    dark = np.full((32, 32), 4095, np.uint16)
    assert decoded(png16(dark)).max() == 16 and decoded(tiff(dark, deflate=True)).max() == 16
    assert decoded(png16(dark), deep.Depth(floats=(0, 7))).max() == 16
    assert decoded(png16(dark), deep.Depth(integer=(0, 1023))).min() == 255  # brighter than what was trained on: white


@pytest.mark.parametrize(
    ("extents", "integer", "floats"),
    [
        ([], None, None),
        ([(True, 3, 300)], (0, 511), None),
        ([(True, 3, 300), (True, 9, 3100)], (0, 4095), None),
        ([(True, 0, 0)], (0, 1), None),
        ([(True, 0, 65535)], (0, 65535), None),
        ([(True, -1000, 3000)], (-1000, 3000), None),
        ([(False, 0.1, 0.4)], None, (0, 1)),
        ([(False, 0.5, 90.5), (True, 0, 200)], (0, 255), (0.5, 90.5)),
        ([(False, -0.5, 0.5)], None, (-0.5, 0.5)),
    ],
)
def test_the_range_of_a_set_is_that_of_all_its_photos(extents, integer, floats):
    found = deep.depth_of([None, *(deep.Extent(*extent) for extent in extents)])
    assert found == deep.Depth(integer, floats)
    assert deep.of_json(json.loads(json.dumps(found.about()))) == found
    assert deep.of_json(None) == deep.UNKNOWN  # of a classifier that is older


def test_8_bit_pictures_are_not_touched_by_a_range(photo):
    for data in (saved(photo), jpeg(photo), saved(photo.convert("L")), saved(photo.quantize(16)), saved(photo.convert("1"))):
        assert images.extent(data) is None
        assert np.array_equal(decoded(data), decoded(data, deep.Depth((0, 1), (0, 0.1))))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_ordinary_pictures_are_what_pillow_makes_of_them_to_the_byte(photo, kind):
    data = saved(photo.resize((200, 150)), kind, **({} if kind == "BMP" else {"exif": exif(SIDEWAYS)}))
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(decoded(data), np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


BROKEN_EXIF = [(0x011A, 2), (0x8769, 3), (0x8825, 4), (0x927C, 7), (0x010F, 99), (0x0132, 5), (0x9286, 12)]


@pytest.mark.parametrize("tag, kind", BROKEN_EXIF)
def test_exif_that_cannot_be_read_or_written_back_still_turns_the_photo(photo, tag, kind):
    wide = photo.resize((64, 40))
    whole = with_segment(jpeg(wide), 0xE1, b"Exif\0\0" + exif(SIDEWAYS))
    broken = with_segment(jpeg(wide), 0xE1, b"Exif\0\0" + exif(SIDEWAYS, tag, kind))
    assert images.decode(whole).size == (40, 64) and np.array_equal(decoded(broken), decoded(whole))


@pytest.mark.parametrize(
    "given",
    [
        (0xE1, b"Exif\0\0" + b"\x81" * 50),
        (0xE1, b"Exif\0\0"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe<x"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"MPF\0II*\0\x08\0\0\0\x05\0"),
        (0xE0, b"JFIF\0"),
        (0xEE, b"Adobe"),
        (0xED, b"Photoshop 3.0\x008BIM"),
        (0xE1, b"Exif\0\0" + exif(1), 60000),
        (0xE1, b"Exif\0\0" + exif(1), 100),
        (0xE1, b"Exif\0\0" + exif(1) + jpeg(Image.new("RGB", (32, 32))), 8),
        (0xE1, b"Exif\0\0" + exif(1) + jpeg(Image.new("RGB", (32, 32))), 900),
    ],
)
def test_a_jpegs_broken_metadata_does_not_decide_over_its_pixels(photo, given):
    plain = jpeg(photo)
    assert np.array_equal(decoded(with_segment(plain, *given)), decoded(plain))


@pytest.mark.parametrize("last", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize(
    "given",
    [
        (b"zTXt", b"a\0\0" + zlib.compress(bytes(5 * 2**20))),
        (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(5 * 2**20))),
        (b"iCCP", b"a\0\0" + zlib.compress(bytes(5 * 2**20))),
        (b"iCCP", b"a\0\5"),
        (b"pHYs", b"a"),
        (b"acTL", b"a"),
        (b"tEXt", b"Raw profile type exif\0zzzz"),
    ],
)
def test_a_pngs_broken_or_oversized_metadata_does_not_decide_over_its_pixels(photo, given, last):
    turned = with_chunk(saved(photo), b"eXIf", exif(SIDEWAYS))
    assert np.array_equal(decoded(with_chunk(turned, *given, last=last)), decoded(turned))
    assert np.array_equal(decoded(turned), np.rot90(np.asarray(photo), -1))


def test_a_chunk_with_a_wrong_sum_or_length_does_not_decide_over_pixels(photo):
    plain = saved(photo)
    wrong_length = b"\0\0\x20\0" + chunk(b"tEXt", b"a\0b")[4:]
    for broken in (chunk(b"tEXt", b"a\0b")[:-1] + b"x", chunk(b"eXIf", exif())[:-1] + b"x", wrong_length):
        data = plain[:33] + broken + plain[33:]
        assert images.decode(data).convert("L").getextrema() == photo.convert("L").getextrema()


@pytest.mark.parametrize("kind", ["WEBP", "HEIF", "AVIF"])
def test_other_formats_broken_exif_does_not_decide_over_pixels(photo, kind):
    data = saved(photo, kind, exif=exif(1, 0x010F, 2, b"abc\0"))
    broken = re.sub(rb"II\*\0|MM\0\*", b"\xff" * 4, data)
    assert broken != data and difference(broken, photo) < 8


def test_a_tiffs_broken_metadata_does_not_decide_over_its_pixels(colours):
    grey = colours[..., 0]
    for tags in ({"xmp": 6}, {"t34665": 2**31}, {"t34675": [2**31]}, {"t282": b"6"}):
        assert np.array_equal(decoded(tiff(grey, orientation=SIDEWAYS, **tags)), np.rot90(np.stack([grey] * 3, axis=2), -1))


def test_a_webp_cut_off_behind_its_pixels_is_read_and_one_cut_off_within_them_is_not(photo):
    data = saved(photo, "WEBP", exif=exif(1))
    assert difference(data[:-6], photo) < 8
    with pytest.raises(images.UnreadablePhoto, match="can't be decoded"):
        images.decode(data[: len(data) // 2])


SMALL = np.zeros((20, 20), np.uint8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"this is a text file", "not a picture"),
        (jpeg(Image.effect_noise((64, 64), 50))[:900], "can't be decoded"),
        (saved(Image.new("RGB", (1, 1))), "too small"),
        (tiff(SMALL, pages=3), "a TIFF of 3 pages: save each page as a picture of its own"),
        (tiff(SMALL, dng=2**17), "a RAW photo (Adobe DNG): export it as JPEG, TIFF or PNG"),
        (tiff(SMALL, subfile=1, subifds=100, make=b"NIKON CORPORATION"), "a RAW photo (Nikon NEF): export"),
        (tiff(np.dstack([SMALL] * 5), photometric=1), "a TIFF of 5 bands"),
        (tiff(np.dstack([SMALL] * 2).astype(np.uint16), photometric=1), "a TIFF of 2 bands"),
        (tiff(SMALL.astype(np.uint64)), "a TIFF of 64 bits a sample"),
        (tiff(SMALL.astype(np.float64)), "a TIFF of 64 bits a sample, floats"),
        (tiff(SMALL.astype(np.float16)), "a TIFF of 16 bits a sample, floats"),
        (tiff(SMALL.astype(np.complex64)), "a TIFF of complex numbers"),
        (tiff(np.dstack([SMALL] * 3).astype(np.float32)), "a TIFF of a kind that can't be read (3 x 32 bits, sample format 3"),
        (tiff(np.dstack([SMALL] * 3).astype(np.uint16), apart=True), "a TIFF of 16 bits a channel, each channel by itself"),
        (tiff(SMALL, compression=34887), "a TIFF compressed by LERC"),
        (tiff(SMALL, compression=50001), "a TIFF compressed by WebP"),
        (jpeg(Image.new("L", (32, 32))).replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc0\0\x0b\x0c"), "a JPEG of 12 bits a channel"),
        (b"8BPS\0\1" + bytes(30), "a Photoshop file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a RAW photo (Canon CR3)"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a film, not a picture"),
        (saved(Image.new("1", (20000, 10000))), "absurdly large: 20000 x 10000 px"),
        (saved(Image.new("1", (20000, 20000))), "absurdly large: 20000 x 20000 px"),
        (jpeg(Image.new("L", (16000, 12000))), "absurdly large: 16000 x 12000 px"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_read_is_named(data, reason):
    with pytest.raises(images.UnreadablePhoto) as error:
        images.decode(data)
    assert str(error.value).startswith(reason)


def test_a_thumbnail_behind_a_tiffs_picture_is_no_page(photo):
    small = photo.resize((16, 16))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    data = saved(photo, "TIFF", save_all=True, append_images=[small])
    assert Image.open(io.BytesIO(data)).n_frames == 2 and difference(data, photo) == 0


def test_a_huge_jpeg_is_decoded_small():
    huge = jpeg(Image.new("RGB", (16000, 12000), (200, 30, 40)))
    assert images.sides(huge) == (16000, 12000) and images.extent(huge) is None
    for size in (images.LOOK, 64):
        assert images.decode(huge, size).size[0] < 16000
    assert np.abs(images.square(huge, 64).astype(int) - (200, 30, 40)).max() <= 3


@pytest.mark.parametrize("kind", ["MPO", "GIF", "WEBP", "PNG"])
def test_of_several_pictures_in_a_file_the_first_is_taken(photo, kind):
    black = Image.new("RGB", photo.size)
    data = saved(photo, kind, save_all=True, append_images=[black, black], **({"lossless": True} if kind == "WEBP" else {}))
    assert Image.open(io.BytesIO(data)).n_frames > 1 and difference(data, photo) < 10


def test_premultiplied_and_palette_transparency_and_lab_are_read(photo):
    grey = np.asarray(photo.convert("L"))
    assert (decoded(tiff(np.dstack([grey, grey]), photometric=1, extra=1))[grey > 0] == 255).all()
    for image in (photo.convert("PA"), photo.convert("YCbCr"), Image.new("LAB", (32, 32), (200, 128, 128))):
        assert images.decode(saved(image, "TIFF")).mode == "RGB"


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


def test_augmentation_flips_half_and_nothing_else_when_told_so(photo):
    pixels = np.asarray(photo)
    assert np.array_equal(augment(pixels, STILL, np.random.default_rng(0)), pixels)
    views = [augment(pixels, STILL | {"flip": True}, images.random_numbers(1, view, "ab" * 32)) for view in range(200)]
    mirrored = [np.array_equal(view, pixels[:, ::-1]) for view in views]
    assert all(same or np.array_equal(view, pixels) for same, view in zip(mirrored, views)) and 70 < sum(mirrored) < 130


def test_an_augmented_view_depends_on_seed_view_and_photo_alone(photo):
    pixels = np.asarray(photo)

    def view(*key):
        return augment(pixels, STRENGTH, images.random_numbers(*key)).tobytes()

    assert view(1, 1, "ab" * 32) == view(1, 1, "ab" * 32)
    assert len({view(1, 1, "ab" * 32), view(2, 1, "ab" * 32), view(1, 2, "ab" * 32), view(1, 1, "cd" * 32)}) == 4


def test_with_class_weights_every_class_counts_alike():
    labels = np.array([0] * 30 + [1] * 3 + [2] * 12)
    weights = models.class_weights(labels)
    assert [weights[labels == n].sum() for n in range(3)] == pytest.approx([15, 15, 15])
    assert models.class_weights(np.array([0, 1, 1, 0])).tolist() == [1, 1, 1, 1]
