"""A server that does everything wrong: what comes of a download is the right file, or the real cause and nothing."""

import hashlib
import http.server
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import NO_NETWORK

from littledata.core.errors import UserError
from littledata.photos import fetch

CONTENT = os.urandom(2**19)
HALF, SHA256 = len(CONTENT) // 2, hashlib.sha256(CONTENT).hexdigest()
PAGE = b"<html>Please log in</html>"


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT. `script` says what each request gets, the last word for all that follow; `asked` has their first bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.asked, self.ended = ["whole"], [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/photos.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        script, start = self.server.script, int((self.headers["Range"] or "bytes=0-")[6:-1])
        word = script.pop(0) if len(script) > 1 else script[0]
        self.server.asked.append(start)
        if word.isdecimal():
            return self.answer(int(word), PAGE, "text/html")
        if word == "page":
            return self.answer(200, PAGE, "text/html")
        if word == "short":
            return self.answer(200, CONTENT[:-1])
        if word == "other":
            return self.answer(200, bytes(len(CONTENT)))
        if word == "no range" or not start:
            return self.answer(200, CONTENT, ends=word)
        shown = start + 1 if word == "elsewhere" else start
        data = CONTENT[: len(CONTENT) - start] if word == "lie" else CONTENT[shown:]
        self.answer(206, data, place=f"bytes {shown}-{len(CONTENT) - 1}/{len(CONTENT)}", ends=word)

    def answer(self, status: int, data: bytes, kind: str = "application/zip", place: str = "", ends: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if place:
            self.send_header("Content-Range", place)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if ends in ("cut", "stall") else data)
        self.wfile.flush()
        if ends == "stall":
            self.server.ended.wait(20)
        self.close_connection = True

    def do_HEAD(self) -> None:  # as some proxies answer
        self.answer(405, b"")

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(monkeypatch, tmp_path) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    for name in NO_NETWORK:
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.ended.set()
        running.shutdown()


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """How long `fetch` waits between tries; the tests don't."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(fetch, "STALL_SECONDS", 0.5)
    return waited


def kept() -> list[str]:
    return [path.name for path in fetch.CACHE.iterdir()] if fetch.CACHE.exists() else []


@pytest.mark.parametrize(
    ("script", "asked", "tries", "error"),
    [
        # what breaks is tried again, and ends with the right file
        (["whole"], [0], 0, None),
        (["cut", "whole"], [0, HALF], 1, None),
        (["stall", "whole"], [0, HALF], 1, None),
        (["cut", "cut", "cut", "whole"], [0, HALF, HALF + HALF // 2, HALF + HALF * 3 // 4], 3, None),
        (["500", "429", "503", "whole"], [0, 0, 0, 0], 3, None),
        (["cut", "503", "whole"], [0, HALF, HALF], 2, None),
        (["cut", "no range"], [0, HALF], 1, None),
        (["cut", "elsewhere", "whole"], [0, HALF, HALF], 2, None),
        (["cut", "416", "whole"], [0, HALF, 0], 2, None),
        (["cut", "lie", "whole"], [0, HALF, 0], 1, None),  # the pieces have a wrong digest: once more from the start
        # what stays broken ends with its cause
        (["403"], None, 0, "answers 403 Forbidden"),
        (["416"], None, 3, r"try 4 of 4.: it has less than what is here already"),
        (["cut"], None, 3, r"try 4 of 4.: IncompleteRead"),
        (["stall"], None, 3, r"try 4 of 4.: no answer in time"),
        (["cut", "elsewhere"], None, 3, r"asked for bytes from 262144 on, it answers with bytes 262145-"),
        # what is not the file is named and removed
        (["short"], None, None, "expected"),
        (["other"], None, None, "expected"),
        (["cut", "lie", "cut", "lie"], None, None, "expected"),
        (["cut", "short"], None, None, "expected"),
        # what is refused at the first look
        ("404", None, 0, "answers 404 Not Found"),
        ("403", None, 0, "answers 403 Forbidden"),
        ("page", None, 0, "answers with a web page instead of the file"),
        ("500", None, 3, r"try 4 of 4.: it answers 500 Internal Server Error"),
    ],
)
def test_a_download_is_the_right_file_or_its_cause_and_nothing(server, waits, script, asked, tries, error):
    looked = isinstance(script, list)
    server.script = ["whole", *script] if looked else [script]  # the first is the look whether it can be had
    if error is None:
        assert fetch.http(server.url, "photos.zip", len(CONTENT), SHA256).read_bytes() == CONTENT
        assert server.asked == [0, *asked] and kept() == ["photos.zip"]
    else:
        with pytest.raises(UserError if tries is None else fetch.Unreachable, match=error) as raised:
            fetch.http(server.url, "photos.zip", len(CONTENT), SHA256)
        assert len(str(raised.value).splitlines()) == 1 and kept() in ([], ["photos.zip.part"][: looked and tries is not None])
        assert all(CONTENT.startswith((fetch.CACHE / name).read_bytes()) for name in kept()), "what goes on later is the file's own"
    assert tries is None or waits == [1, 2, 4][:tries]


@pytest.mark.parametrize(
    ("name", "content", "asked"),
    [
        ("photos.zip.part", CONTENT[:100_000], [0, 100_000]),
        ("photos.zip.part", PAGE, [0, len(PAGE), 0]),
        ("photos.zip.part", bytes(len(CONTENT)), [0, 0]),
        ("photos.zip", bytes(len(CONTENT)), [0, 0]),  # damaged since
    ],
)
def test_what_an_earlier_run_left_is_gone_on_with_if_it_is_of_the_file(server, name, content, asked):
    fetch.CACHE.mkdir(parents=True)
    (fetch.CACHE / name).write_bytes(content)
    assert fetch.http(server.url, "photos.zip", len(CONTENT), SHA256).read_bytes() == CONTENT
    assert server.asked == asked and kept() == ["photos.zip"]


def test_nobody_there_and_no_such_name(server, waits):
    server.shutdown()
    server.server_close()
    with pytest.raises(fetch.Unreachable, match="can't be reached: Connection refused"):
        fetch.http(server.url, "photos.zip", 1, SHA256)
    with pytest.raises(fetch.Unreachable, match="can't be reached: .*[Nn]ame"):
        fetch.ask("http://nowhere.invalid/")


def test_a_server_that_never_answers(server, monkeypatch):
    monkeypatch.setattr(fetch, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.server.ended.wait(20))
    with pytest.raises(fetch.Unreachable, match="did not answer within 0.5 s"):
        fetch.check_reachable(server.url)


def test_a_proxy_that_lets_nothing_through(server, monkeypatch):
    """The server knows no CONNECT, and answers 501."""
    monkeypatch.setenv("https_proxy", server.url)
    with pytest.raises(fetch.Unreachable, match="can't be reached: the proxy: Tunnel connection failed: 501"):
        fetch.ask("https://example.com/photos.zip")


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes the certificate")
def test_a_certificate_that_nobody_knows(server):
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subprocess.run(words.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path("cert.pem"), Path("key.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with pytest.raises(fetch.Unreachable, match="its certificate is not accepted: self.signed certificate"):
        fetch.http(server.url.replace("http:", "https:"), "photos.zip", 1, SHA256)
