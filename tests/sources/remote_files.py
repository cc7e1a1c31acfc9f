"""Files as they lie elsewhere, and in archives."""

import io
import tarfile
import zipfile
from pathlib import Path

from PIL import Image


def encoded(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), (sum(name.encode()) % 256, 3, 4)).save(buffer, "PNG")
    return buffer.getvalue()


def names_in(folder: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def zipped(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as shard:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))
