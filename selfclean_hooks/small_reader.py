"""Reads samples for people, in this process or in workers."""

from __future__ import annotations

from selfclean_hooks.items import picture, split
from selfclean_hooks.previews import column_names, preview
from selfclean_hooks.reading import Reader, Sample
from selfclean_hooks.small_pictures import small


class SmallReader(Reader):
    """What a person sees of each sample: its picture made small, or a preview; an error where that cannot be had."""

    def __getitem__(self, index: int) -> tuple[Sample, bytes | None]:
        """The sample at a position, and the bytes."""
        content = self._seen(index)
        return Sample(index, error="" if content is not None else "there is nothing to be seen"), content

    def _seen(self, index: int) -> bytes | None:
        try:
            item = self.dataset[index]
            found = picture(split(item).value)
            return preview(item, column_names(self.dataset)) if found is None else small(found)
        except Exception:  # whatever a user's data set raises: a report with a picture less is better than none
            return None
