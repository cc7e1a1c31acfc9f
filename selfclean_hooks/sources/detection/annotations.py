"""What annotation files say, whatever their format: images, and boxes in them with their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image

from selfclean_hooks.data.image_files import STORED, LabeledFiles, read_image

Size = tuple[float, float]  # width, height


class Box(NamedTuple):
    """One object.

    Attributes:
        image: position of its image.
        corners: left, top, right, bottom, as parts of `Annotations.sizes` of its image.
        label: code of its class.
        place: its position among the annotations of the file that holds it, from 0.
    """

    image: int
    corners: tuple[float, float, float, float]
    label: int
    place: int


@dataclass(frozen=True, eq=False)
class Annotations:
    """A data set, or one split of it.

    Attributes:
        images: the files.
        sizes: what corners are measured in, for each image; None: its pixels, whatever their number.
        boxes: those of one image after those of another.
        classes: names of the codes.
        files: the files that boxes are read from, one for each image, or one for all of them.
        root: folder that images and files lie below.
    """

    images: Sequence[str]
    sizes: Sequence[Size | None]
    boxes: Sequence[Box]
    classes: tuple[str, ...]
    files: Sequence[str]
    root: str


class ObjectDataset(LabeledFiles):
    """Each box as a sample: its part of the image and its class. Boxes of one image in a row are read from one decode.

    Attributes:
        samples: (name, label) of each box, the name being the file of its image, "#" and its number there, from 1.
    """

    def __init__(self, annotations: Annotations) -> None:
        """Nothing is read yet."""
        super().__init__([box.label for box in annotations.boxes], annotations.classes)
        self.annotations = annotations
        numbers: dict[int, int] = {}
        self.samples = []
        for box in annotations.boxes:
            number = numbers[box.image] = numbers.get(box.image, 0) + 1
            self.samples.append((f"{annotations.images[box.image]}#{number}", box.label))
        self._decoded: tuple[int, Image.Image] | None = None  # the last image

    def __len__(self) -> int:
        """The number of boxes."""
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """The part of the image within the box; an empty box, or one outside of its image, raises ValueError."""
        box = self.annotations.boxes[index]
        if self._decoded is None or self._decoded[0] != box.image:
            self._decoded = box.image, read_image(self.annotations.images[box.image])
        image = self._decoded[1]
        unit = self.annotations.sizes[box.image] or image.info.get(STORED, image.size)
        scale = [side / whole for side, whole in zip(image.size, unit, strict=True)] * 2
        left, top, right, bottom = (corner * by for corner, by in zip(box.corners, scale, strict=True))
        start = max(0, round(left)), max(0, round(top))
        end = min(image.width, round(right)), min(image.height, round(bottom))
        if start[0] >= end[0] or start[1] >= end[1]:
            raise ValueError(f"the box holds no pixel of its image: {box.corners} of {unit}")
        return self.item(image.crop((*start, *end)), index)

    def __getstate__(self) -> dict[str, Any]:
        """Without the image, which workers read anew."""
        return {**vars(self), "_decoded": None}


def bounds(points: Sequence[float]) -> tuple[float, float, float, float]:
    """The box around x, y, x, y, ..., a polygon's."""
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
