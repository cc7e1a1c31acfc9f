"""Opens what SOURCE on the command line names: a folder, an array, a table, a saved data set or a Python object."""

import csv
import importlib
import inspect
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import ExifTags, Image

from selfclean_hooks.errors import SourceError

_LONGEST = 2048  # longest side kept, in pixels: no encoder looks closer, and memory stays bounded
_JPEG_LONGEST = 1024  # a JPEG decodes to a half, a quarter or an eighth for almost nothing: down to this much is enough
# Pillow opens these, but they are containers, films or programs (EPS starts another process) and not pictures.
_NOT_PICTURES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "test"})
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WANTED = (
    "SOURCE is a folder of pictures, a .npz file with `images` or `embeddings`, a .csv or .parquet table with a `path` "
    "column, a Hugging Face data set saved on disk, or module:attribute"
)


@dataclass(frozen=True, eq=False)
class Source:
    """An opened SOURCE.

    Attributes:
        name: The SOURCE as it was written.
        dataset: A map-style data set, or None where there are only vectors.
        vectors: (N, D) float32 embeddings, or None.
        labels: N labels that can be had without reading the items, or None.
        class_names: The name of label 0, 1, ..., or None where labels have no names.
        notes: What the user should know, one sentence each.
    """

    name: str
    dataset: Any | None = None
    vectors: NDArray[np.float32] | None = None
    labels: Sequence[int] | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def open_source(text: str) -> Source:
    """Open what the command line names.

    Args:
        text: A folder, a file or ``module:attribute``. What exists on disk is taken as a path first.

    Raises:
        SourceError: Nothing can be read there; the message says what was wanted, what came and what to do.
    """
    path = os.path.expanduser(text)
    if text and os.path.isdir(path):
        return _open_folder(text, path)
    if text and os.path.isfile(path):
        return _open_file(text, path)
    if re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", text):
        return _open_object(text)
    raise SourceError(f"{_WANTED}; {text!r} is none of these and no such file or folder exists: check the spelling")


# --- pictures ---------------------------------------------------------------------------------------------------------


def _read_picture(path: str) -> Image.Image:
    if not os.path.isfile(path):  # also: opening a named pipe would wait for ever
        raise FileNotFoundError(f"{path}: no such file, or a broken link")
    try:
        return _decode(path)
    except Exception as error:  # a damaged file makes decoders raise SyntaxError, struct.error, ...: one kind for all
        raise OSError(f"{path}: cannot be read as a picture: {type(error).__name__}: {error}") from error


def _decode(path: str) -> Image.Image:
    Image.init()
    formats = [name for name in Image.OPEN if name not in _NOT_PICTURES]
    with warnings.catch_warnings():
        # Photographs of 90 to 178 megapixels are real and are read; beyond that Pillow raises an error.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        # Given a name, Pillow maps the file to memory, and garbles raw TIFF files that are to be turned.
        with open(path, "rb") as file, Image.open(file, formats=formats) as image:
            if max(image.size) > _LONGEST:
                scale = _JPEG_LONGEST / max(image.size)
                image.draft(None, (round(image.width * scale), round(image.height * scale)))
            image.load()
            return _upright(_shrunk(image), image.getexif().get(ExifTags.Base.Orientation, 1))


def _shrunk(image: Image.Image) -> Image.Image:
    if max(image.size) <= _LONGEST:
        return image
    if image.mode in ("1", "P"):  # Pillow would pick single pixels of these instead of averaging
        image = image.convert("L" if image.mode == "1" else None)
    image.thumbnail((_LONGEST, _LONGEST), reducing_gap=2.0)
    return image


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """A copy free of the file. ImageOps.exif_transpose would also write the tags back and fail on odd ones."""
    turn = _TURNS.get(orientation)
    upright = image.copy() if turn is None else image.transpose(turn)
    for key in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):
        upright.info.pop(key, None)  # whoever looks for an orientation later must not turn the picture again
    return upright


# --- data sets --------------------------------------------------------------------------------------------------------


class _Labelled:
    """Holds labels and class names; both attributes are absent where there are none."""

    targets: list[int]
    classes: tuple[str, ...]

    def __init__(self, targets: list[int] | None, classes: tuple[str, ...] | None) -> None:
        if targets is not None:
            self.targets = targets
        if classes is not None:
            self.classes = classes

    def _item(self, image: Image.Image, index: int) -> tuple[Any, ...]:
        return (image, self.targets[index]) if hasattr(self, "targets") else (image,)


class _PictureFiles(_Labelled):
    """Items are (PIL image, label) or (PIL image,), decoded when asked for; an unreadable file raises OSError then."""

    def __init__(self, paths: list[str], targets: list[int] | None, classes: tuple[str, ...] | None) -> None:
        super().__init__(targets, classes)
        self.paths = paths

    def __len__(self) -> int:
        """The number of pictures."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Decode one picture."""
        return self._item(_read_picture(self.paths[index]), index)


class FolderDataset(_PictureFiles):
    """The pictures under a folder, in sorted order.

    Where every picture lies in a sub-folder, the first-level folder is its class; otherwise there are no labels.
    Links are followed, and a folder reached a second time is passed over. Hidden files and ``__MACOSX`` are left out.
    Pictures come upright (EXIF) and at most 2048 pixels long.

    Args:
        folder: Where to look.

    Attributes:
        paths: N paths, each beginning with ``folder`` as given.
        targets: N labels, an index into ``classes``. Absent without class folders.
        classes: Names of the class folders. Absent without class folders.
        notes: What was passed over, one sentence each.

    Raises:
        SourceError: No picture is there, or a folder cannot be listed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """List the pictures; none is opened."""
        root = os.fspath(folder)
        files, repeated = _walk(root)
        endings = _picture_endings()
        pictures = sorted(parts for parts in files if _ending(parts[-1]) in endings)
        others = [_ending(parts[-1]) for parts in files if _ending(parts[-1]) not in endings]
        if not pictures:
            raise SourceError(_no_pictures(root, others))
        names = tuple(sorted({parts[0] for parts in pictures if len(parts) > 1}))
        loose = sum(len(parts) == 1 for parts in pictures)
        labelled = bool(names) and not loose
        position = {name: label for label, name in enumerate(names)}
        targets = [position[parts[0]] for parts in pictures] if labelled else None
        super().__init__([os.path.join(root, *parts) for parts in pictures], targets, names if labelled else None)
        self.notes = _folder_notes(names, loose, others, repeated)


class TableDataset(_PictureFiles):
    """The pictures a table names in its column ``path``, with the labels of its column ``label`` if there is one.

    Args:
        table: A .csv file (UTF-8, comma) or a .parquet file. Paths are relative to the table's folder. Labels that are
            all whole numbers stay numbers, any others are class names.

    Attributes:
        paths: N paths, in the order of the rows.
        targets: N labels. Absent without a column ``label``.
        classes: Sorted class names, for labels that are names. Absent otherwise.

    Raises:
        SourceError: The table cannot be read, lacks ``path``, has empty cells, or none of its files exists.
    """

    def __init__(self, table: str | os.PathLike[str]) -> None:
        """Read the table; no picture is opened."""
        name = os.fspath(table)
        columns = _read_parquet(name) if _ending(name) == ".parquet" else _read_csv(name)
        if "path" not in columns:
            raise SourceError(f"{name}: wanted a column `path` (and optionally `label`), got {_listed(columns)}")
        cells = [str(cell) for cell in _filled(columns["path"], f"{name}: column `path`")]
        folder = os.path.dirname(name)
        paths = [os.path.join(folder, cell) for cell in cells]
        if not any(os.path.lexists(path) for path in paths):
            found = f"{paths[0]!r} and the rest do not exist" if paths else "the table has no rows"
            raise SourceError(f"{name}: wanted paths relative to the folder of the table, but {found}")
        labels = columns.get("label")
        super().__init__(paths, *(_as_targets(labels, f"{name}: column `label`") if labels else (None, None)))


class ArrayDataset(_Labelled):
    """Pictures held in one array. Items are (PIL image, label) or (PIL image,).

    Args:
        images: (N, H, W) or (N, H, W, C) with C = 1, 3 or 4; uint8, or floats in [0, 1] or [0, 255]. An item with a
            value that is not finite raises ValueError when it is asked for.
        labels: (N,) whole numbers or class names, or None.

    Attributes:
        images: The array as given.
        targets: N labels. Absent without labels.
        classes: Sorted class names, for labels that are names. Absent otherwise.

    Raises:
        SourceError: Another shape, dtype or range of values.
    """

    def __init__(self, images: ArrayLike, labels: ArrayLike | None = None) -> None:
        """Check the arrays; nothing is copied."""
        self.images = np.asarray(images)
        self._scale = _scale_to_bytes(self.images)
        super().__init__(*_array_targets(labels, len(self.images)))

    def __len__(self) -> int:
        """The number of pictures."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Turn one array into a picture."""
        pixels = self.images[index]
        if pixels.dtype != np.uint8:
            if not np.isfinite(pixels).all():
                raise ValueError(f"picture {index} holds values that are not finite")
            pixels = np.round(pixels * self._scale).astype(np.uint8)
        return self._item(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels), index)


# --- folders ----------------------------------------------------------------------------------------------------------


def _open_folder(text: str, path: str) -> Source:
    present = set(_listdir(path))
    if "dataset_dict.json" in present or {"dataset_info.json", "state.json"} <= present:
        return _open_saved(text, path)
    dataset = FolderDataset(path)
    return _labelled_source(text, dataset, notes=dataset.notes)


def _walk(root: str) -> tuple[list[tuple[str, ...]], int]:
    """Every file below root as path parts, and how many folders were passed over because they were reached before.

    Real folders come before linked ones, so that a picture is listed under its own name; each is entered once, so that
    links in a circle end.
    """
    folders: list[tuple[str, ...]] = [()]
    links: list[tuple[str, ...]] = []
    entered: set[str] = set()
    files: list[tuple[str, ...]] = []
    repeated = 0
    while folders or links:
        parts = folders.pop() if folders else links.pop()
        folder = os.path.join(root, *parts)
        if (real := os.path.realpath(folder)) in entered:
            repeated += 1
            continue
        entered.add(real)
        for name in sorted(_listdir(folder)):
            entry = os.path.join(folder, name)
            kind = files if not os.path.isdir(entry) else links if os.path.islink(entry) else folders
            kind.append((*parts, name))
    return files, repeated


def _listdir(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".") and name != "__MACOSX"]
    except OSError as error:
        raise SourceError(f"{folder}: the folder cannot be listed: {error.strerror}; check its permissions") from error


def _picture_endings() -> set[str]:
    formats = Image.registered_extensions()  # fills Image.OPEN too
    return {ending for ending, name in formats.items() if name in Image.OPEN and name not in _NOT_PICTURES}


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _counted(endings: list[str]) -> str:
    common = Counter(ending or "no ending" for ending in endings).most_common()
    shown = ", ".join(f"{ending} ({count})" if len(endings) > 1 else ending for ending, count in common[:8])
    return shown + (", ..." if len(common) > 8 else "")


def _no_pictures(root: str, others: list[str]) -> str:
    found = f"{len(others)} files, none of them a picture: {_counted(others)}" if others else "no files"
    return f"{root}: wanted a folder with pictures (.jpg, .png, ...) or class folders of them, found {found}; {_WANTED}"


def _folder_notes(names: tuple[str, ...], loose: int, others: list[str], repeated: int) -> tuple[str, ...]:
    notes = []
    if names and loose:
        notes.append(f"{loose} pictures lie beside the folders {_listed(names)}: no labels are taken from folder names")
    elif names and _SPLIT_NAMES.issuperset(name.lower() for name in names):
        splits = " ".join(f"{name}=DIR/{name}" for name in names)
        notes.append(f"the class folders {_listed(names)} look like splits: to audit them as such give {splits}")
    if others:
        notes.append(f"{len(others)} files that are no pictures were passed over: {_counted(others)}")
    if repeated:
        notes.append(f"{repeated} linked folders were passed over: they lead to folders already listed")
    return tuple(notes)


# --- files ------------------------------------------------------------------------------------------------------------


def _open_file(text: str, path: str) -> Source:
    if _ending(path) == ".npz":
        return _open_npz(text, path)
    if _ending(path) in (".csv", ".parquet"):
        return _labelled_source(text, TableDataset(path))
    raise SourceError(f"{_WANTED}; {text!r} is another kind of file: give its folder, or list it in a table")


def _labelled_source(text: str, dataset: _Labelled, notes: tuple[str, ...] = ()) -> Source:
    labels, names = getattr(dataset, "targets", None), getattr(dataset, "classes", None)
    return Source(text, dataset, labels=labels, class_names=names, notes=notes)


def _open_npz(text: str, path: str) -> Source:
    arrays = _read_npz(path)
    images, vectors, labels = (arrays.get(key) for key in ("images", "embeddings", "labels"))
    if vectors is not None and (vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or not len(vectors)):
        raise SourceError(f"{path}: embeddings must be (N, D) numbers, got {vectors.shape} {vectors.dtype}")
    if images is not None and vectors is not None and len(images) != len(vectors):
        raise SourceError(f"{path}: {len(images)} images but {len(vectors)} embeddings: as many are wanted of both")
    try:
        dataset = None if images is None else ArrayDataset(images, labels)
        targets, names = _array_targets(labels, len(arrays["embeddings" if images is None else "images"]))
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from None
    return Source(text, dataset, None if vectors is None else vectors.astype(np.float32), targets, names)


def _read_npz(path: str) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = list(file.files)
            arrays = {key: file[key] for key in ("images", "embeddings", "labels") if key in keys}
    except Exception as error:  # a damaged archive raises OSError, ValueError, BadZipFile, zlib.error, EOFError, ...
        cure = "save plain arrays of numbers or text with numpy.savez, no Python objects"
        raise SourceError(f"{path}: cannot be read as .npz: {error}; {cure}") from error
    if not arrays.keys() & {"images", "embeddings"}:
        wanted = "an array `images` or `embeddings`, and optionally `labels`"
        raise SourceError(f"{path}: wanted {wanted}; got {_listed(keys)}: save it under one of these names")
    return arrays


def _scale_to_bytes(images: NDArray[Any]) -> int:
    if images.ndim not in (3, 4) or not len(images) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
        channels_first = images.ndim == 4 and images.shape[1] in (1, 3, 4)
        hint = "; move the channels last: images.transpose(0, 2, 3, 1)" if channels_first else ""
        raise SourceError(f"images must be (N, H, W) or (N, H, W, C) with C = 1, 3 or 4, got {images.shape}{hint}")
    if images.dtype == np.uint8:
        return 1
    if images.dtype.kind != "f":
        wanted = "uint8, or floats in [0, 1] or [0, 255]"
        raise SourceError(f"images must be {wanted}, got {images.dtype}: scale to 0..255 and convert to uint8")
    finite = np.isfinite(images)
    low, high = (float(f(images, where=finite, initial=0.0)) for f in (np.min, np.max))
    if low < 0 or high > 255:
        raise SourceError(
            f"float images must lie in [0, 1] or [0, 255], got [{low:g}, {high:g}]: undo the normalisation"
        )
    return 255 if high <= 1 else 1


def _read_csv(path: str) -> dict[str, list[Any]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read as a table: {error}; wanted UTF-8 text, comma separated") from error
    too_long = [row for row, cells in enumerate(rows, 1) if None in cells]  # the reader's key for what has no column
    if too_long:
        cure = "put cells with a comma in quotes"
        raise SourceError(f"{path}: row {too_long[0]} (the first is 1) has more cells than there are columns: {cure}")
    return {name.strip(): [row[name] for row in rows] for name in columns}


def _read_parquet(path: str) -> dict[str, list[Any]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        cure = "install it with pip install 'selfclean-hooks[parquet]', or save the table as .csv"
        raise SourceError(f"{path}: reading .parquet needs pyarrow: {cure}") from error
    try:
        table = parquet.ParquetFile(path).read()
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise SourceError(f"{path}: cannot be read as a table: {error}") from error
    return {name: table[name].to_pylist() for name in table.column_names}


# --- labels -----------------------------------------------------------------------------------------------------------


def _array_targets(labels: ArrayLike | None, count: int) -> tuple[list[int] | None, tuple[str, ...] | None]:
    if labels is None:
        return None, None
    array = np.asarray(labels)
    if array.shape != (count,):
        raise SourceError(f"labels must be one a picture or vector, ({count},), got {array.shape}")
    return _as_targets((np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array).tolist(), "labels")


def _as_targets(values: list[Any], where: str) -> tuple[list[int], tuple[str, ...] | None]:
    """Labels as numbers, and their names unless all are whole numbers anyway."""
    texts = [str(value) for value in _filled(values, where)]
    if all(re.fullmatch(r"[+-]?[0-9]+", text) for text in texts):
        return [int(text) for text in texts], None
    names = tuple(sorted(set(texts)))
    position = {name: label for label, name in enumerate(names)}
    return [position[text] for text in texts], names


def _filled(values: list[Any], where: str) -> list[Any]:
    rows = [row for row, value in enumerate(values, 1) if value is None or value != value or str(value).strip() == ""]
    if rows:
        some = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
        raise SourceError(f"{where}: {len(rows)} of {len(values)} are empty, row {some} (the first is 1): fill them in")
    return values


def _listed(names: Any) -> str:
    some = [f"`{name}`" for _, name in zip(range(12), names, strict=False)]
    return ", ".join(some) + (", ..." if len(names) > 12 else "") if some else "none"


# --- saved data sets and Python objects -------------------------------------------------------------------------------


def _open_saved(text: str, path: str) -> Source:
    try:
        from datasets import load_from_disk
    except ImportError as error:
        cure = "install it with pip install 'selfclean-hooks[huggingface]'"
        raise SourceError(f"{path}: reading a saved Hugging Face data set needs `datasets`: {cure}") from error
    try:
        found = load_from_disk(path)
    except Exception as error:  # whatever the library raises about files that are not its own
        raise SourceError(f"{path}: cannot be read as a saved Hugging Face data set: {error}") from error
    return _map_style(text, found)


def _open_object(text: str) -> Source:
    module, _, attribute = text.partition(":")
    try:
        with _current_folder_importable():
            found: Any = importlib.import_module(module)
            for name in attribute.split("."):
                found = getattr(found, name)
            return _map_style(text, _train_dataset(text, _called(text, found)))
    except SourceError:
        raise
    except (Exception, SystemExit) as error:  # the user's code: any error; and a script that exits must not end ours
        raise SourceError(f"{text}: wanted module:attribute, but it failed: {type(error).__name__}: {error}") from error


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()  # a file written a moment ago counts
    try:
        yield
    finally:
        sys.path[:] = before


def _called(text: str, found: Any) -> Any:
    is_ready = hasattr(found, "__getitem__") or hasattr(found, "train_dataloader")
    if not callable(found) or (is_ready and not isinstance(found, type)):
        return found
    signature = inspect.signature(found)
    try:
        signature.bind()
    except TypeError:
        advice = "write a function without required arguments that returns the data set"
        raise SourceError(f"{text}: it wants arguments, {signature}: {advice}") from None
    return found()


def _train_dataset(text: str, found: Any) -> Any:
    """The train data of a LightningDataModule (told by its methods: Lightning is not imported); others as they are."""
    if not hasattr(found, "train_dataloader"):
        return found
    found.prepare_data()
    found.setup(stage="fit")
    loader = found.train_dataloader()
    if not hasattr(loader, "dataset"):
        cure = "name one data set instead"
        raise SourceError(f"{text}: wanted one train DataLoader, got {type(loader).__name__}: {cure}")
    return loader.dataset


def _map_style(text: str, found: Any) -> Source:
    if hasattr(found, "keys") and hasattr(found, "num_rows"):  # a Hugging Face DatasetDict
        if "train" not in found:
            raise SourceError(
                f"{text}: wanted a data set or a `train` split, got the splits {_listed(found)}: give the folder of one"
            )
        notes = (f"the split `train` was taken out of {_listed(found)}",)
        return _with_features(text, found["train"], notes)
    from torch.utils.data import IterableDataset

    sized = hasattr(found, "__getitem__") and hasattr(found, "__len__")
    if not sized or isinstance(found, IterableDataset | dict | str | bytes | type):
        advice = "give one that has len(ds) and ds[i], or a function or DataModule that returns one"
        raise SourceError(f"{text}: wanted a map-style data set, got {type(found).__name__}: {advice}")
    return _with_features(text, found, ())


def _with_features(text: str, dataset: Any, notes: tuple[str, ...]) -> Source:
    """Labels and their names, where a Hugging Face data set knows them without decoding a picture."""
    features = getattr(dataset, "features", None)
    for key in ("label", "labels"):
        if isinstance(features, dict) and (names := getattr(features.get(key), "names", None)):
            return Source(text, dataset, labels=list(dataset[key]), class_names=tuple(names), notes=notes)
    return Source(text, dataset, notes=notes)
