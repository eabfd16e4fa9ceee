"""Some of what `make faults` tries by the hundred thousand: pictures, archives and model files that somebody has spoilt."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from conftest import ROOT
from PIL import Image

from littledata.core.errors import UserError
from littledata.export import model_file
from littledata.export.classifier import Classifier
from littledata.pictures import images
from studies.faults import hostile
from tools import audit


@pytest.mark.parametrize(("what", "count"), [("pictures", 600), ("archives", 300), ("models", 100)])
def test_spoilt_files_are_read_or_refused_within_a_second_and_a_gigabyte(what, count):
    words = [sys.executable, "-m", "studies.faults.hostile", what, "2", str(count)]
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_a_child_that_hangs_or_fails_is_no_success(tmp_path):
    """The harness itself can fail."""
    code = "from studies.faults import hostile; import time\nhostile.SECONDS = 1\n"
    code += "hostile.READERS['models'] = (hostile.whole_models, list, lambda data, folder: {})\nhostile.child('models', 2, 3)"
    for reads, status in (("time.sleep(9)", 1), ("1 / 0", 1), ("bytearray(3 << 30)", 1)):
        edited = code.replace("{}", f"None if data == hostile.whole_models()[0] else {reads}")
        assert subprocess.run([sys.executable, "-c", edited], cwd=ROOT, capture_output=True).returncode == status, reads


def test_what_no_classifier_here_has_is_named(tmp_path):
    plain, _, _, outside, odd, nested, huge = hostile.whole_models()
    path = tmp_path / "model.onnx"
    path.write_bytes(plain)
    said = Classifier(path).probabilities(np.zeros((2, 16, 16, 3), np.uint8))
    assert said.shape == (2, 2) and np.allclose(said.sum(1), 1)
    expected = {
        outside: "constant 'k' in another file",
        odd: "operator 'NonZero'",
        nested: "operator 'If'",
        huge: "numbers a picture",
        plain.replace(b"B\x01k", b"B\x01\x80"): "can't decode byte",  # a constant's name that is no text
    }
    for data, words in expected.items():
        path.write_bytes(data)
        with pytest.raises(UserError, match=f"is no classifier that this project exported .*{words}"):
            model_file.check(path)
    model = onnx.load_from_string(plain)
    del model.graph.node[2]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="is no classifier that this project exported"):
        Classifier(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white_as_it_always_was(mode):
    """In strips, so that a large picture takes its memory once."""
    rng = np.random.default_rng(1)
    pixels = Image.fromarray(rng.integers(0, 256, (2500, 30, 4)).astype(np.uint8)).convert(mode)
    rgba = pixels.convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    assert np.array_equal(images.decode(hostile.saved(pixels, "PNG")), expected)


def test_the_limit_counts_what_a_pixel_takes(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(images, "MAX_BYTES", 30_000)
    assert images.decode(hostile.saved(Image.new("RGB", (100, 100)), "PNG")).size == (100, 100)
    with pytest.raises(images.UnreadablePhoto, match="absurdly large: 100 x 100 px"):
        images.decode(hostile.saved(Image.new("RGBA", (100, 100)), "PNG"))
    assert images.decode(hostile.saved(Image.new("RGBA", (80, 80)), "PNG")).size == (80, 80)


@pytest.mark.process
def test_an_audit_that_finds_nothing_says_that_it_could_not_look(tmp_path, monkeypatch, capsys):
    """pip-audit says "no known vulnerabilities" where it has no advisories."""
    for name, said in (("zizmor", ""), ("pip-audit", '{"dependencies": [{"name": "jinja2", "version": "2.4.1", "vulns": []}]}')):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SystemExit) as end:
        audit.main()
    assert not end.value.code and "packages: not audited here: pip-audit does not report jinja2==2.4.1" in capsys.readouterr().out
