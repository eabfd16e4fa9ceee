"""Pictures, archives and model files that somebody has made to do harm, or a disk has spoilt, each in a child process.

    python -m studies.faults.hostile pictures 7 1000      # what a child does: 1,000 pictures, by seed 7

Hypothesis draws what is done to whole files of every kind that is read; a child has a limit of memory, and a watchdog that ends it
where one file takes more than five seconds. A file is survived where it is read, or refused with a line, within these.
"""

import faulthandler
import io
import itertools
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import hypothesis
import numpy as np
import onnx
from hypothesis import strategies
from PIL import Image

from littledata.core.errors import UserError
from littledata.photos import archive, listing
from littledata.pictures import images, kinds
from studies.faults.ground import Fault, Ground, beside

SECONDS = 5
MEMORY = 2**30  # bytes, beside what the modules take
CHUNKS = {"archives": (500, 2), "models": (100, 1), "pictures": (2000, 5)}  # files a child, and shares of the time
SIDE = (40, 24)  # px


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
    found = [saved(rgb, kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "MPO")]
    found += [saved(rgb, kind) for kind in ("GIF", "BMP", "JPEG", "PNG", "TIFF")]
    found += [saved(alpha, kind) for kind in ("PNG", "WEBP", "TIFF", "HEIF", "AVIF")]
    found += [saved(rgb.convert("P"), "PNG", transparency=3), saved(rgb.convert("CMYK"), "JPEG"), saved(grey.convert("1"), "TIFF")]
    found += [saved(deep, "PNG"), saved(deep, "TIFF"), saved(deep.convert("I"), "TIFF"), saved(grey.convert("F"), "TIFF")]
    found += [saved(rgb, "TIFF", compression=how) for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
    found += [saved(rgb, "JPEG", progressive=True), saved(rgb, "WEBP", lossless=True), saved(grey, "JPEG", icc_profile=b"x" * 300)]
    return found + [
        saved(rgb, kind, save_all=True, append_images=[grey.convert("RGB")] * 3) for kind in ("GIF", "WEBP", "TIFF", "PNG")
    ]


def zipped(entries: Sequence[tuple[str, bytes]], kind: int = zipfile.ZIP_STORED, attributes: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as made:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = attributes, kind
            made.writestr(info, content)
    return file.getvalue()


def whole_archives() -> list[bytes]:
    """Zips as people have them, and as attackers make them: names that lead outside, links, twins, zips in zips, bombs."""
    photo = whole_pictures()[0]
    names = ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")
    plain = zipped([(name, photo) for name in names])
    odd = ["../x.jpg", "/etc/x.jpg", "C:\\x.jpg", "a/../../x.jpg", "cat/1.jpg", "Cat/1.jpg", "cat//1.jpg", "./cat/1.jpg", "cat/\0.jpg",
           "cat/" + "x" * 300 + ".jpg", "\\\\server\\x.jpg", "cat/aux.jpg", "cat/\u202e.jpg", "=cmd()/1.jpg", "<b>/1.jpg"]  # fmt: skip
    found = [plain, zipped([(name, photo) for name in names], zipfile.ZIP_DEFLATED)]
    found += [zipped([*((name, photo) for name in names), (name, photo)]) for name in odd]
    found += [zipped([("cat/1.jpg", b"/etc/passwd"), ("dog/1.jpg", photo)], attributes=0o120777 << 16)]
    found += [zipped([("cat/a.zip", plain), ("dog/b.zip", plain), *((name, photo) for name in names)])]
    return found


def large_archives() -> list[bytes]:
    """Bombs: two photos of 300 MB in some hundred KB, the same where the list says 1,000 bytes, and 50,000 entries."""
    photo = whole_pictures()[0]
    bomb = zipped([(name, bytes(300 << 20)) for name in ("cat/1.jpg", "cat/2.jpg")] + [("dog/1.jpg", photo)], zipfile.ZIP_DEFLATED)
    lies = bytearray(bomb)
    for at in [found.start() for found in re.finditer(b"PK\x01\x02", bomb)][:2]:
        lies[at + 24 : at + 28] = struct.pack("<I", 1000)
    return [bomb, bytes(lies), zipped([(f"cat/{number}.jpg", photo[:20]) for number in range(50_000)])]


def large_pictures() -> list[bytes]:
    """Few bytes that many pixels would be made of: 160 megapixels, 149 with transparency, 149 of 16 bits, and sizes that lie."""
    found = [saved(Image.new("L", (12_700, 12_700)), "PNG"), saved(Image.new("LA", (12_200, 12_200)), "PNG")]
    found += [saved(Image.new("I;16", (12_200, 12_200)), "PNG"), saved(Image.new("P", (12_200, 12_200)), "PNG", transparency=0)]
    lies = bytearray(saved(Image.new("RGB", (64, 64)), "PNG"))
    lies[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    return [*found, bytes(lies)]


def whole_models() -> list[bytes]:
    """Small classifiers as this project exports them, and one with each thing that it never exports."""
    import json

    from onnx import TensorProto, helper, numpy_helper

    about = json.dumps({"classes": ["cat", "dog"], "image_size": 16, "fit": "squash"})

    def model(nodes, constants, opset=17, **options) -> onnx.ModelProto:
        pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 16, 16, 3])
        written = helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 2])
        made = helper.make_graph(nodes, "classifier", [pixels], [written], constants)
        made = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **options)
        helper.set_model_props(made, {"about": about})
        return made

    rng = np.random.default_rng(1)
    constants = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in (("k", (4, 3, 3, 3)), ("b", (4,)), ("w", (4, 2)), ("c", (2,)))
    ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "k", "b"], ["v"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["v"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "w", "c"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"]),
    ]
    plain = model(nodes, constants)
    outside = model(nodes, constants)
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    odd = model([helper.make_node("NonZero", ["f"], ["z"]), *nodes], constants)
    inner = helper.make_graph([nodes[0]], "inner", [], [helper.make_tensor_value_info("f", TensorProto.FLOAT, None)])
    nested = model([helper.make_node("If", ["pixels"], ["f"], then_branch=inner, else_branch=inner), *nodes[1:]], constants)
    huge = model([*nodes[:2], helper.make_node("Conv", ["t", "k", "b"], ["v"], pads=[10**6] * 4), *nodes[3:]], constants)
    return [made.SerializeToString() for made in (plain, plain, plain, outside, odd, nested, huge)]


@strategies.composite
def spoilt(draw, wholes: list[bytes]) -> bytes:
    """One of these files, after some bits have turned and parts have gone, come or been written over."""
    data = bytearray(draw(strategies.sampled_from(wholes)))
    for _ in range(draw(strategies.integers(0, 4))):
        if not data:
            break
        first = draw(strategies.booleans())  # most of what is read is at the start
        at = draw(strategies.integers(0, max(0, min(len(data), 400 if first else len(data)) - 1)))
        what = draw(strategies.integers(0, 5))
        if what < 2:
            data[at] ^= 1 << draw(strategies.integers(0, 7))
        elif what == 2:
            data[at] = draw(strategies.integers(0, 255))
        elif what == 3:
            data[at : at + 4] = draw(strategies.sampled_from([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\1"]))
        elif what == 4:
            del data[at : at + draw(strategies.integers(1, 64))]
        else:
            data[at:at] = draw(strategies.binary(min_size=1, max_size=16))
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
        with listing.of_archive(path) as found:
            found.check()
            for photo in found.photos[:8]:
                try:
                    images.square(found.read(photo), 32)
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

        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(spoilt(wholes))
        def each(data):
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            reader(data, folder)
            faulthandler.cancel_dump_traceback_later()

        for data in large:
            faulthandler.dump_traceback_later(6 * SECONDS, exit=True)  # what is read has to be large, and may take its time
            reader(data, folder)
        faulthandler.cancel_dump_traceback_later()
        each()


def run(grounds: Sequence[Ground], seconds: dict[str, float], until: float, seed: int) -> list[Fault]:
    """So many files a child and seed, one child beside another."""
    faults = []
    for number, (what, (chunk, share)) in enumerate(CHUNKS.items()):
        faults.append(fault := Fault(f"hostile {what}"))
        seeds = itertools.count(seed)

        def work(_: Ground, what: str = what, chunk: int = chunk, fault: Fault = fault, seeds=seeds) -> None:
            words = [sys.executable, "-m", "studies.faults.hostile", what, str(own := next(seeds)), str(chunk)]
            env = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(words, env=env, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            why = done.stdout.partition("Failing test case")[0][-600:]  # by the seed it is found again
            fault.note(f"seed {own}", f"ended with {done.returncode}: {why}" if done.returncode else None, chunk)

        start = time.monotonic()
        shares = [own for _, own in CHUNKS.values()][number:]
        beside(itertools.repeat(work), grounds, start + (until - start) * share / sum(shares))
    return faults


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
