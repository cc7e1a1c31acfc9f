"""What `audit` and `pretrain` read, how, and where the result goes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

FLAGS, LIMITS, ENCODER, TABLES, OUTPUT = (  # groups of options in help texts
    "What is flagged and dropped",
    "When the audit fails",
    "Encoder and speed",
    "Columns of a table",
    "Output",
)


class Precision(str, Enum):
    """Floating-point precision of a model."""

    full = "32"
    bf16 = "bf16"
    half = "16"


Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Folder for the audit and its report.", rich_help_panel=OUTPUT),
]
PathColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Column of a table that holds the images or their paths.", rich_help_panel=TABLES
    ),
]
Device = Annotated[str, typer.Option(help='"auto" or a torch device.', rich_help_panel=ENCODER)]


class Search(str, Enum):
    """How neighbours are searched for."""

    exact = "exact"
    approximate = "approximate"


SearchOption = Annotated[
    Search,
    typer.Option(
        "--search", help="Of neighbours that vote on labels; approximate: for 300,000 samples.", rich_help_panel=ENCODER
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile/--no-compile", help="Compile the model: pays off for many images.", rich_help_panel=ENCODER
    ),
]
Progress = Annotated[
    bool, typer.Option(help="Progress bars; without a terminal a line every 30 s.", rich_help_panel=OUTPUT)
]


class Method(str, Enum):
    """Which detectors score the samples."""

    default = "default"
    selfclean = "selfclean"


MethodOption = Annotated[
    Method, typer.Option("--method", help="Detectors; selfclean: as in the paper.", rich_help_panel=ENCODER)
]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="A folder of images (class folders or flat), a .npz (images or embeddings, optionally labels), "
        "a .npy (embeddings; with labels beside it in NAME.labels.npy), "
        "a .csv, .tsv or .parquet table (path or images, optionally label), a detection data set (data.yaml, a "
        ".json of COCO, a folder of Pascal VOC; with :objects at its end its boxes), a saved Hugging Face data "
        "set, or module:attribute. Of a URL (s3://, gs://, hf://, https://) or an archive (.zip, .tar) there is a "
        "copy first. Or several splits: train=SOURCE val=SOURCE, or a folder that holds train and val.",
    ),
]
Backbone = Annotated[
    str,
    typer.Option(
        help='A timm name, "auto", "self-supervised", hf:NAME (of the Hugging Face hub, or a folder), a file of '
        "weights (from pretrain, or resnet18:FILE), or module:attribute (a module or function).",
        rich_help_panel=ENCODER,
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per step.", rich_help_panel=ENCODER)]
Workers = Annotated[int, typer.Option(min=0, help="Processes that read images.", rich_help_panel=ENCODER)]
CacheDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Keep embeddings here between runs.", rich_help_panel=ENCODER)
]
Seed = Annotated[int, typer.Option(help="Of all that is random.", rich_help_panel=ENCODER)]
PrecisionOption = Annotated[
    Precision,
    typer.Option("--precision", help="Of the forward pass; bf16 and 16: mixed precision.", rich_help_panel=ENCODER),
]
MaxItems = Annotated[
    int,
    typer.Option(
        min=1,
        help="Findings of each issue listed in the report, at most; more also look further above the threshold.",
        rich_help_panel=OUTPUT,
    ),
]
ImagesFolder = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", help="Images of a COCO .json, where they are not beside it."),
]
LabelColumn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Column of a table that holds the labels; given several times: a class each, of 0 and 1.",
        rich_help_panel=TABLES,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Column of a table or Hugging Face data set: samples alike in it are of one patient or film, and not "
        "compared.",
        rich_help_panel=TABLES,
    ),
]
IgnoreLabel = Annotated[
    str | None,
    typer.Option(
        metavar="LABEL",
        help="The label, or the class by name, that means that a sample has none: 255, unlabelled.",
        rich_help_panel=TABLES,
    ),
]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Files alike in the (...) of it, as '([^/]+)/frame', are of one patient or film: not compared.",
        rich_help_panel=ENCODER,
    ),
]
ImageQuality = Annotated[
    bool,
    typer.Option(
        "--image-quality/--no-image-quality",
        help="Look for dark, bright, blurry and blank images and odd sizes and shapes, too.",
        rich_help_panel=FLAGS,
    ),
]
