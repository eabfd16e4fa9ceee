"""Pictures, archives and model files that somebody has made to do harm, or a disk has spoilt, each in a child process.

    python -m studies.faults.hostile pictures 7 1000      # what a child does: 1,000 pictures, by seed 7

Hypothesis draws what is done to whole files of every kind that is read; a child has a limit of memory, and a watchdog that ends it
where one file takes more than five seconds. A file is survived where it is read, or refused with a line, within these.
"""

import faulthandler
import io
import itertools
import json
import os
import random
import re
import resource
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hypothesis
import numpy as np
import onnx
import onnx.parser
from hypothesis import strategies
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from littledata.core.errors import UserError
from littledata.photos import archive, listing
from littledata.pictures import images, kinds
from studies.faults.ground import Place, Tried, kind

SECONDS = 5
MEMORY = 2**30  # bytes, beside what the modules take
COUNTS = {"archives": 500, "models": 100, "pictures": 2000}  # files a child
SIDE = (40, 24)  # px
NAMES = ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def whole_pictures() -> list[bytes]:
    """Small pictures of every kind that is read: with EXIF, transparency, palettes, several frames, 12 and 16 bits, tiles."""
    rgb = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*SIDE[::-1], 3)).astype(np.uint8))
    grey, alpha, deep = rgb.convert("L"), rgb.convert("RGBA"), Image.fromarray(np.arange(960, dtype=np.uint16).reshape(24, 40) * 64)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x010E] = 6, "camera", "words " * 20
    frames = {"save_all": True, "append_images": [grey.convert("RGB")] * 3}
    every: list[tuple[Image.Image, str, dict]] = [
        *((rgb, kind, {"exif": exif}) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "MPO")),
        *((rgb, kind, {}) for kind in ("GIF", "BMP", "JPEG", "PNG", "TIFF")),
        *((alpha, kind, {}) for kind in ("PNG", "WEBP", "TIFF", "HEIF", "AVIF")),
        *((rgb, "TIFF", {"compression": how}) for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
        *((rgb, kind, frames) for kind in ("GIF", "WEBP", "TIFF", "PNG")),
        *((image, "TIFF", {}) for image in (deep, deep.convert("I"), grey.convert("F"), grey.convert("1"))),
        *((image, "PNG", options) for image, options in ((deep, {}), (rgb.convert("P"), {"transparency": 3}))),
        *((image, "JPEG", {"progressive": True}) for image in (rgb, rgb.convert("CMYK"))),
        *((image, "WEBP", {"lossless": True, "icc_profile": b"x" * 300}) for image in (rgb, grey)),
    ]
    return [saved(image, kind, **options) for image, kind, options in every]


def zipped(entries: Sequence[tuple[str, bytes]], kind: int = zipfile.ZIP_STORED, attributes: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as made:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = attributes, kind
            made.writestr(info, content)
    return file.getvalue()


def whole_archives() -> list[bytes]:
    """Zips as people have them, and as attackers make them: names that lead outside, links, twins, zips in zips."""
    photo = whole_pictures()[0]
    photos = [(name, photo) for name in NAMES]
    plain = zipped(photos)
    odd = ["../x.jpg", "/etc/x.jpg", "C:\\x.jpg", "a/../../x.jpg", "cat/1.jpg", "Cat/1.jpg", "cat//1.jpg", "./cat/1.jpg", "cat/\0.jpg",
           "cat/" + "x" * 300 + ".jpg", "\\\\server\\x.jpg", "cat/aux.jpg", "cat/\u202e.jpg", "=cmd()/1.jpg", "<b>/1.jpg"]  # fmt: skip
    return [
        plain,
        zipped(photos, zipfile.ZIP_DEFLATED),
        *(zipped([*photos, (name, photo)]) for name in odd),
        zipped([("cat/1.jpg", b"/etc/passwd"), ("dog/1.jpg", photo)], attributes=0o120777 << 16),
        zipped([("cat/a.zip", plain), ("dog/b.zip", plain), *photos]),
    ]


def large_archives() -> list[bytes]:
    """Bombs: two photos of 300 MB in some hundred KB, the same where the list says 1,000 bytes, and 50,000 entries."""
    photo = whole_pictures()[0]
    bomb = zipped([(name, bytes(300 << 20)) for name in NAMES[:2]] + [("dog/1.jpg", photo)], zipfile.ZIP_DEFLATED)
    lies = bytearray(bomb)
    for at in [match.start() for match in re.finditer(b"PK\x01\x02", bomb)][:2]:
        lies[at + 24 : at + 28] = struct.pack("<I", 1000)
    return [bomb, bytes(lies), zipped([(f"cat/{number}.jpg", photo[:20]) for number in range(50_000)])]


def large_pictures() -> list[bytes]:
    """Few bytes that many pixels would be made of: 160 megapixels, 149 with transparency, 149 of 16 bits, and sizes that lie."""
    sizes = {"L": 12_700, "LA": 12_200, "I;16": 12_200, "P": 12_200}
    large = [
        saved(Image.new(mode, (side, side)), "PNG", **({"transparency": 0} if mode == "P" else {})) for mode, side in sizes.items()
    ]
    lies = bytearray(saved(Image.new("RGB", (64, 64)), "PNG"))
    lies[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    return [*large, bytes(lies)]


CLASSIFIER = """\
<ir_version: 8, opset_import: ["" : 17]>
classifier (uint8[n, 16, 16, 3] pixels) => (float[n, 2] p) {
    f = Cast<to = 1>(pixels)
    t = Transpose<perm = [0, 3, 1, 2]>(f)
    v = Conv<pads = [1, 1, 1, 1]>(t, k, b)
    r = Relu(v)
    g = GlobalAveragePool(r)
    h = Flatten(g)
    s = Gemm(h, w, c)
    p = Softmax(s)
}
"""


def classifier(old: str = "", new: str = "") -> onnx.ModelProto:
    """A small classifier as this project exports them, with something else in the place of some of its text."""
    rng, made = np.random.default_rng(1), onnx.parser.parse_model(CLASSIFIER.replace(old, new, 1))
    for name, shape in {"k": (4, 3, 3, 3), "b": (4,), "w": (4, 2), "c": (2,)}.items():
        made.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    helper.set_model_props(made, {"about": json.dumps({"classes": ["cat", "dog"], "image_size": 16, "fit": "squash"})})
    return made


def whole_models() -> list[bytes]:
    """Small classifiers as this project exports them, and one with each thing that it never exports."""
    plain, outside = classifier(), classifier()
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    branches = ", ".join(f"{name}_branch = inner () => (float f) {{ f = Cast<to = 1>(pixels) }}" for name in ("then", "else"))
    odd, nested = classifier("t =", "z = NonZero(f) t ="), classifier("Cast<to = 1>", f"If<{branches}>")
    huge = classifier("[1, 1, 1, 1]", str([10**6] * 4))
    return [made.SerializeToString() for made in (plain, plain, plain, outside, odd, nested, huge)]


# What stands in the place of some bytes: nothing, others, or the numbers that most often break a reader.
BYTES = strategies.one_of(
    strategies.binary(max_size=16), strategies.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\0\0\0\1"])
)


@strategies.composite
def spoilt(draw, wholes: list[bytes]) -> bytes:
    """One of these files, after some bits have turned and parts have gone, come or been written over."""
    data = bytearray(draw(strategies.sampled_from(wholes)))
    for _ in range(draw(strategies.integers(0, 4))):
        first = draw(strategies.booleans())  # most of what is read is at the start
        at = draw(strategies.integers(0, max(0, min(len(data), 400 if first else len(data)) - 1)))
        if data and draw(strategies.booleans()):
            data[at] ^= 1 << draw(strategies.integers(0, 7))
        else:
            new = draw(BYTES)
            data[at : at + draw(strategies.sampled_from([0, len(new), 64]))] = new
    return bytes(data)


def read_picture(data: bytes, folder: Path) -> None:
    for way in (lambda: images.square(data, 32), lambda: images.extent(data), lambda: images.sides(data)):
        try:
            way()
        except images.UnreadablePhoto as error:
            assert str(error) and "\n" not in str(error), repr(str(error))
    kinds.of("a.tif", data[: kinds.HEAD])


def read_archive(data: bytes, folder: Path) -> None:
    """List a zip, look at its photos, pack what can be read: what `download` and `subsample` do."""
    path = folder / "in/photos.zip"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    try:
        listed = listing.of_archive(path)
        listed.check()
        for photo in itertools.islice(listed.photos, 8):
            try:
                images.square(listed.read(photo), 32)
            except (archive.Unreadable, images.UnreadablePhoto) as error:
                assert "\n" not in str(error)
    except UserError as error:
        assert len(str(error).splitlines()) <= 2, str(error)
    assert sorted(folder.iterdir()) == [folder / "in"] and list(path.parent.iterdir()) == [path], "written elsewhere"


def read_model(data: bytes, folder: Path) -> None:
    from littledata.export.classifier import Classifier

    path = folder / "model.onnx"
    path.write_bytes(data)
    try:
        classifier = Classifier(path)
        if classifier.size <= 512:
            classifier.probabilities(np.zeros((1, classifier.size, classifier.size, 3), np.uint8))
    except UserError as error:
        assert len(str(error).splitlines()) <= 2, str(error)


READERS: dict[str, tuple[Callable, Callable, Callable]] = {
    "pictures": (whole_pictures, large_pictures, read_picture),
    "archives": (whole_archives, large_archives, read_archive),
    "models": (whole_models, list, read_model),
}
LARGE_READ: set[str] = set()


def child(what: str, seed: int, count: int) -> None:
    """Read so many spoilt files, and by seed 1 the large ones; the process ends with a traceback at the first that is not
    survived."""
    whole, large, reader = READERS[what]
    wholes = whole()
    large = large() if seed == 1 else []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        reader(wholes[0], folder)  # so that all modules are there
        taken = int(re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (taken + MEMORY, taken + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        def read(data: bytes, seconds: int) -> None:
            faulthandler.dump_traceback_later(seconds, exit=True)
            reader(data, folder)
            faulthandler.cancel_dump_traceback_later()

        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(spoilt(wholes))
        def each(data):
            read(data, SECONDS)

        for data in large:
            read(data, 6 * SECONDS)  # what is read has to be large, and may take its time
        each()


def files(what: str, place: Place, rng: random.Random) -> Iterator[Tried]:
    """Many files in a child; the first one reads the large ones as well."""
    seed = rng.randrange(2, 2**31) if what in LARGE_READ else 1
    LARGE_READ.add(what)
    words = [sys.executable, "-m", "studies.faults.hostile", what, str(seed), str(COUNTS[what])]
    env, out = os.environ | {"OMP_NUM_THREADS": "1"}, subprocess.STDOUT
    done = subprocess.run(words, env=env, text=True, errors="replace", stdout=subprocess.PIPE, stderr=out)
    why = done.stdout.partition("Failing test case")[0][-600:]  # by the seed it is found again
    yield Tried(f"seed {seed}", f"ended with {done.returncode}: {why}" if done.returncode else None, COUNTS[what])


for what in READERS:
    kind(f"hostile {what}", what)(files)


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
