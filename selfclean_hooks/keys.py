"""What a sample is called for good: by the bytes of its file.

A JPEG decodes to other pixels with another library; its bytes are the same on every machine, so what is known of a
sample (that somebody has looked at it and accepted it) can be kept in version control.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

LARGEST = 2**28  # bytes; a larger file is rather a container of samples than one


def own_files(files: Sequence[str | None]) -> list[str]:
    """The file of each sample, "" where there is none or where it is the file of several, as of a video's frames."""
    times = Counter(files)
    return [file if file and times[file] == 1 else "" for file in files]


def file_key(path: str) -> str:
    """blake2b of the bytes of a file, 32 hex digits; "" if it is no regular file, above `LARGEST`, or unreadable."""
    key = blake2b(digest_size=16)
    try:
        found = os.stat(path)  # before it is opened: opening a pipe waits for ever
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            return ""
        with open(path, "rb") as file:
            while chunk := file.read(2**20):
                key.update(chunk)
    except (OSError, ValueError):  # ValueError: a name that can be none, with a NUL inside
        return ""
    return key.hexdigest()
