"""The forms of a data set that a part can be written in: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from selfclean_hooks.data.dataset_tree import is_huggingface
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.source import Form, Source
from selfclean_hooks.sources.subsets.array import array_subset
from selfclean_hooks.sources.subsets.folder import folder_subset
from selfclean_hooks.sources.subsets.objects import objects_subset
from selfclean_hooks.sources.subsets.saved import saved_subset
from selfclean_hooks.sources.subsets.subset import Changes, Subset
from selfclean_hooks.sources.subsets.table import table_subset

Planner = Callable[[Source, Changes, Path], Subset]
SUBSETS: Mapping[Form, Planner] = {  # what plans a part, given the folder that it will be in
    Form.folder: lambda source, changes, _: folder_subset(source, changes),
    Form.files: lambda source, changes, _: folder_subset(source, changes),
    Form.table: table_subset,
    Form.images: table_subset,
    Form.array: lambda source, changes, _: array_subset(source, changes),
    Form.objects: lambda source, changes, _: objects_subset(source, changes),
    Form.saved: lambda source, changes, _: saved_subset(source, changes),
}


def subset_of(source: Source, changes: Changes, target: Path) -> Subset:
    """Plan the part of a source that is kept; nothing is written.

    Args:
        source: as it was opened.
        changes: what is kept, and the new labels.
        target: the folder that it will be in.

    Raises:
        SourceError: the source has no form that a part could be written in, or a new label does not fit.
    """
    form = Form.saved if source.form is Form.other and is_huggingface(source.dataset) else source.form
    if form not in SUBSETS:
        raise SourceError(
            f"{source.name} is made by code, and its samples are no files: train on "
            "torch.utils.data.Subset(dataset, audit.clean_indices)"
        )
    return SUBSETS[form](source, changes, target)
