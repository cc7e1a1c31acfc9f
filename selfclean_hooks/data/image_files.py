"""Reads image files, upright and at a bounded size, and the data sets made of them."""

from __future__ import annotations

import importlib
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import IO, Any

from PIL import ExifTags, Image

from selfclean_hooks.utils.files import special_kind

STORED = "selfclean_hooks_stored_size"  # width and height in the file, in the info of what was shrunk
LONGEST = 2048  # longest side kept, in pixels: no encoder looks closer, and memory stays bounded
JPEG_LONGEST = 1024  # a JPEG decodes to a half, a quarter or an eighth for almost nothing: down to this much is enough
# Pillow opens these, but they are containers, films or programs (EPS starts another process) and not images.
NOT_IMAGES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Targets = list[int] | list[float] | list[list[bool]]  # classes, regression targets or several labels a sample


class LabeledFiles:
    """Base of data sets whose items are (PIL image, label), or (PIL image,) without labels.

    Attributes:
        targets: N labels. Absent without labels.
        classes: Name of label 0, 1, ...: absent where labels have no names.
        notes: What was noticed when the data set was opened, one sentence each.
        groups: N values that say which samples belong together; None where none do.
    """

    targets: Targets
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    groups: Sequence[Any] | None = None

    def __init__(self, targets: Targets | None, classes: tuple[str, ...] | None) -> None:
        """Keep what there is."""
        if targets is not None:
            self.targets = targets
        if classes is not None:
            self.classes = classes

    def item(self, image: Image.Image, index: int) -> tuple[Any, ...]:
        """The image, and its label if there are labels."""
        return (image, self.targets[index]) if hasattr(self, "targets") else (image,)


class ImageFiles(LabeledFiles):
    """Images in files, each read on access; an unreadable one raises OSError then."""

    def __init__(self, paths: list[str], targets: Targets | None, classes: tuple[str, ...] | None) -> None:
        """Nothing is read yet."""
        super().__init__(targets, classes)
        self.paths = paths

    def __len__(self) -> int:
        """The number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Read one file."""
        return self.item(read_image(self.paths[index]), index)


class EncodedImages(LabeledFiles):
    """Images as encoded bytes, each decoded on access; an unreadable one raises OSError then."""

    def __init__(self, encoded: Sequence[Any], folder: str) -> None:
        """Entries as for `decode_image`, paths in them relative to `folder`; nothing is decoded yet."""
        super().__init__(None, None)
        self._encoded, self._folder = encoded, folder

    def __len__(self) -> int:
        """The number of images."""
        return len(self._encoded)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Decode one image."""
        return self.item(decode_image(self._encoded[index], self._folder), index)


def suffix(name: str) -> str:
    """The part of a file name from its last dot on, in small letters: ".png"."""
    return os.path.splitext(name)[1].lower()


@cache
def image_suffixes() -> frozenset[str]:
    """Endings of the files that `read_image` reads."""
    _register_plugins()
    formats = Image.registered_extensions()  # fills Image.OPEN too
    return frozenset(end for end, name in formats.items() if name in Image.OPEN and name not in NOT_IMAGES)


def read_image(path: str) -> Image.Image:
    """An image as a viewer shows it: turned upright by its EXIF tag, at most `LONGEST` pixels long, free of the file.

    Raises:
        OSError: It is missing, damaged, cut off, not an image, or larger than Pillow opens.
    """
    if kind := special_kind(path):
        raise OSError(f"{path}: it is {kind} and no file")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file, or a broken link")
    try:
        # Given a name, Pillow maps the file to memory, and garbles raw TIFF files that are to be turned.
        with open(path, "rb") as file:
            return _decoded(file)
    except Exception as error:  # a damaged file makes decoders raise SyntaxError, struct.error, ...: one kind for all
        raise OSError(f"{path}: cannot be read as an image: {type(error).__name__}: {error}") from error


def decode_image(encoded: Any, folder: str = "") -> Image.Image:
    """An image as `read_image` gives it, from what stands for it in a table or data set.

    Args:
        encoded: Bytes of a file, or a mapping with `bytes` or else `path`, as Hugging Face's data sets hold an image
            that is not decoded.
        folder: What a path is relative to.

    Raises:
        OSError: There is neither, or it cannot be read as an image.
    """
    content, path = (encoded.get("bytes"), encoded.get("path")) if isinstance(encoded, Mapping) else (encoded, None)
    if content is None and path is not None:
        return read_image(os.path.join(folder, path))
    if content is None:
        raise OSError("the data set holds neither the bytes nor the path of this image")
    try:
        return _decoded(io.BytesIO(content))
    except Exception as error:  # as in `read_image`
        raise OSError(f"{len(content)} bytes cannot be read as an image: {type(error).__name__}: {error}") from error


def is_encoded_image(value: Any) -> bool:
    """Whether a value is the bytes of an image file, or the path of a file that is there, as text, named as one."""
    if isinstance(value, str):
        return suffix(value) in image_suffixes() and os.path.isfile(value)
    if not isinstance(value, (bytes, bytearray)):
        return False
    try:
        with _opened(io.BytesIO(value)):
            return True
    except Exception:  # as in `read_image`
        return False


def stored_image(value: Any) -> Any:
    """The image that stands behind what a data set returns for it; any other value as it is.

    Args:
        value: A mapping with `bytes` and `path` (`datasets.Image(decode=False)`), the path object of an image file, or
            several PIL images, views of one sample, of which the first is taken.

    Raises:
        OSError: It cannot be read.
    """
    if isinstance(value, Mapping) and set(value) == {"bytes", "path"}:
        return decode_image(value)
    if isinstance(value, os.PathLike) and suffix(os.fspath(value)) in image_suffixes():
        return read_image(os.fspath(value))
    if isinstance(value, (list, tuple)) and len(value) > 1 and all(isinstance(each, Image.Image) for each in value):
        return value[0]
    return value


@cache
def _register_plugins() -> None:
    """Let Pillow read HEIC too, where `pillow-heif` is installed."""
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()


def _opened(file: IO[bytes]) -> Image.Image:
    _register_plugins()
    Image.preinit()  # the usual formats are the first to be tried
    Image.init()
    return Image.open(file, formats=[name for name in Image.OPEN if name not in NOT_IMAGES])


def _decoded(file: IO[bytes]) -> Image.Image:
    with warnings.catch_warnings():
        # Photographs of 90 to 178 megapixels are real and are read; beyond that Pillow raises an error.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with _opened(file) as image:
            if max(image.size) > LONGEST:
                image.info[STORED] = image.size
                scale = JPEG_LONGEST / max(image.size)
                image.draft(None, (round(image.width * scale), round(image.height * scale)))
            image.load()
            return _upright(_shrunk(image), image.getexif().get(ExifTags.Base.Orientation, 1))


def _shrunk(image: Image.Image) -> Image.Image:
    if max(image.size) <= LONGEST:
        return image
    if image.mode in ("1", "P"):  # Pillow would pick single pixels of these instead of averaging
        image = image.convert("L" if image.mode == "1" else None)
    image.thumbnail((LONGEST, LONGEST), reducing_gap=2.0)
    return image


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """A copy free of the file. ImageOps.exif_transpose would also write the tags back and fail on odd ones."""
    turn = TURNS.get(orientation)
    upright = image.copy() if turn is None else image.transpose(turn)
    for key in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):
        upright.info.pop(key, None)  # whoever looks for an orientation later must not turn the image again
    return upright
