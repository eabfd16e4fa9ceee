"""What a file is, by its contents first and its ending second."""

import io
import struct

import numpy as np
import pytest
from conftest import jpeg
from PIL import Image
from written import tiff

from littledata.pictures import images, kinds


def saved(kind: str) -> bytes:
    images.Image.init()
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, kind)
    return file.getvalue()


def tagged(**tags) -> bytes:
    return tiff(np.zeros((1, 1), np.uint8), **tags)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP", "TIFF", "MPO"])
def test_a_picture_is_one_whatever_its_ending(kind):
    assert {kinds.of(f"cat/1{ending}", saved(kind)[: kinds.HEAD]) for ending in ("", ".jfif", ".jpe", ".mpo", ".txt")} == {""}


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "jpe", "jfif", "mpo", "png", "tif", "heic", "webp"])
def test_what_only_an_ending_calls_a_picture_is_left_to_decode(ending):
    assert kinds.of(f"broken.{ending}", b"some text") == kinds.of(f"empty.{ending}", b"") == ""


RAW = [
    ("a.CR2", b"II*\0\x10\0\0\0CR\2\0", "Canon CR2"), ("a.tif", b"II*\0\x10\0\0\0CR\2\0", "Canon CR2"),
    ("a.cr3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "Canon CR3"), ("a.NEF", b"MM\0*\0\0\0\x08", "Nikon NEF"),
    ("a.arw", b"II*\0\x08\0\0\0", "Sony ARW"), ("a.pef", b"MM\0*\0\0\0\x08", "Pentax PEF"),
    ("a.dng", b"II*\0\x08\0\0\0", "Adobe DNG"), ("a.tif", tagged(dng=1), "Adobe DNG"),
    ("a.raf", b"FUJIFILMCCD-RAW 0201", "Fuji RAF"), ("a", b"IIRO\x08\0\0\0", "Olympus ORF"),
    ("a.jpg", b"IIU\0\x18\0\0\0", "Panasonic RW2"), ("a.x3f", b"FOVb", "Sigma X3F"),
]  # fmt: skip
OTHERS = [
    ("a.psd", b"8BPS\0\1", "a Photoshop file"), ("a.jpg", b"8BPS\0\1", "a Photoshop file"), ("a.ico", saved("ICO"), "an icon"),
    ("a.jp2", saved("JPEG2000"), "a JPEG 2000 picture"), ("a.jxl", b"\xff\x0a\xfa\x1f", "a JPEG XL picture"),
    ("a.jxl", b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"), ("a.ppm", saved("PPM"), "a Netpbm picture"),
    ("a.svg", b'\n<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    ("a.tga", saved("TGA"), "a TGA picture"),
]  # fmt: skip
NO_PICTURES = [
    ("notes.txt", b"BMW is what these are"), ("a.mp4", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"),
    ("a.mov", b"\0\0\0\x14ftypqt  \0\0\0\0qt  "), ("page.html", b"<html><body><svg></svg>"), ("labels.csv", b"P1 P2\n"),
    ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), ("a.pdf", b"%PDF-1.7"), ("no ending", b""),
]  # fmt: skip
EXPECTED = [(name, head, f"a RAW photo ({camera}): export it as JPEG, TIFF or PNG") for name, head, camera in RAW]
EXPECTED += [(name, head, f"{what}: export it as JPEG or PNG") for name, head, what in OTHERS]
EXPECTED += [(name, head, None) for name, head in NO_PICTURES]


@pytest.mark.parametrize(("name", "head", "expected"), EXPECTED)
def test_what_cannot_be_read_is_named_and_what_is_no_picture_is_none(name, head, expected):
    assert kinds.of(name, head[: kinds.HEAD]) == expected


def test_a_cameras_tiff_with_another_ending_is_raw_by_its_tags():
    assert "RAW" in kinds.of("a.tif", tagged(subfile=1, make=b"Make", subifds=200))
    assert "RAW" in kinds.of("a.tif", tagged(photometric=32803))
    assert kinds.of("a.tif", tagged(subfile=0, make=b"Make", subifds=200)) == ""


@pytest.mark.parametrize("length", range(0, 40, 3))
def test_a_cut_off_head_is_no_accident(length):
    circle = b"MM\0*\xff\xff\xff\xff" + bytes(40)
    for data in (tagged(dng=1), jpeg(Image.new("RGB", (32, 32))), saved("HEIF"), saved("BMP"), circle):
        kinds.of("a", data[:length])


@pytest.mark.parametrize("place", [8, 28, None], ids=["its list of tags", "a tag's values", "a whole file's second list"])
def test_a_big_tiff_that_points_behind_any_file_is_no_accident(place):
    """`struct` has another error for places that no number of the processor's can hold."""
    head = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1) + struct.pack("<HHQQ", 259, 4, 9, 2**63) + struct.pack("<Q", 2**64 - 1)
    if place:
        head = head[:place] + struct.pack("<Q", 2**64 - 1) + head[place + 8 :]
    assert kinds.of("a.tif", head) == ""
    with pytest.raises(images.UnreadablePhoto):
        images.decode(head)
