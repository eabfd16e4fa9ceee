"""A photo as it is listed: what it is called, how large it is, and what changes when it does."""

import hashlib
import os
from typing import NamedTuple

from littledata.photos import names

MAX_BYTES = 256 * 2**20


class Photo(NamedTuple):
    """A photo of a listing.

    key : its path or address below the listing's base, with `/`. It holds bytes that are no UTF-8 as `os.fsdecode` does.
    size : in bytes; -1: not listed
    etag : what changes when the photo does: the time of its file, the etag or generation of its object, the checksum of its entry in a
        zip; "": not listed
    kind, split : its class and its split; "" where they are not known
    problem : why it can't be used, as far as that is known without decoding it
    """

    key: str
    size: int
    etag: str
    kind: str = ""
    split: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        """The name as people read it. Two photos may have the same one."""
        return "/".join(names.of_file(os.fsencode(part)) for part in self.key.split("/"))

    def line(self) -> bytes:
        """What digests of a list are taken of."""
        return os.fsencode(f"{self.key}\0{self.size}\0{self.etag}\n")

    def digest(self) -> str:
        """What tells the photo from all others, and from itself once it has changed: 64 bits in hex."""
        return hashlib.sha256(self.line()).hexdigest()[:16]


def too_large(size: int) -> str:
    """The reason why a photo of so many bytes isn't read; "" where it is."""
    return f"absurdly large: {size / 1e6:.0f} MB" if size > MAX_BYTES else ""
