"""Thumbnails, or previews, of the samples that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.results.findings import select_findings

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult
ALONE = EmbeddingSettings(progress=False)


def with_thumbnails(audit: AuditResult) -> list[int]:
    """Positions, ascending, of the samples with thumbnails: the findings shown and their neighbours."""
    found, s = select_findings(audit), audit.scores
    wanted = {i for members in found.sets for i in members}
    wanted.update(s.pair_index[found.pairs].ravel().tolist())
    wanted.update(i for positions in found.samples.values() for i in positions.tolist())
    wanted.update(s.leaks.index[found.leaks].tolist() if s.leaks is not None else ())
    if audit.evidence is not None:
        wanted |= audit.evidence.neighbors()
    return sorted(wanted - set(s.errors))


def thumbnails(
    audit: AuditResult, dataset: Any, reading: EmbeddingSettings = ALONE, known: Mapping[int, bytes] | None = None
) -> dict[int, bytes]:
    """Thumbnails of the findings shown and of their neighbours. Each sample is read once.

    Args:
        audit: of `dataset`.
        dataset: is read without its transforms and left as it is, and so is global random state.
        reading: its workers read, its progress is shown.
        known: thumbnails of an earlier audit of the same data; these are not read again.

    Returns:
        Position: bytes of a small PNG or WebP; of text, signals and rows the bytes of a preview
        (data/previews). Samples that
        are none of these or cannot be read are left out.
    """
    wanted, known = with_thumbnails(audit), known or {}
    found = _small(dataset, [i for i in wanted if i not in known], reading)
    return {i: content for i in wanted if (content := found.get(i, known.get(i))) is not None}


def leak_thumbnails(
    audit: AuditResult,
    datasets: Mapping[str, Any],
    reading: EmbeddingSettings = ALONE,
    known: Mapping[tuple[str, int], bytes] = MappingProxyType({}),
) -> dict[tuple[str, int], bytes]:
    """Thumbnails of the samples of other splits in the leakage pairs that are shown.

    Args:
        audit: of one split, with leakage looked for.
        datasets: the other splits, by name; read as `thumbnails` does.
        reading: as for `thumbnails`.
        known: what is there already; it is not read again.

    Returns:
        (split, position): bytes as of `thumbnails`.
    """
    leaks = audit.scores.leaks
    if leaks is None:
        return {}
    pairs = select_findings(audit).leaks
    ends = set(zip(leaks.other[pairs].tolist(), leaks.other_index[pairs].tolist(), strict=True))
    found: dict[tuple[str, int], bytes] = {}
    for split, dataset in datasets.items():
        wanted = sorted(i for other, i in ends if leaks.splits[other] == split)
        new = _small(dataset, [i for i in wanted if (split, i) not in known], reading)
        found |= {(split, i): content for i in wanted if (content := new.get(i, known.get((split, i)))) is not None}
    return found


def _small(dataset: Any, positions: list[int], reading: EmbeddingSettings) -> dict[int, bytes]:
    from selfclean_hooks.data.previews.thumbnail import ThumbnailReader
    from selfclean_hooks.data.reader import loader_of
    from selfclean_hooks.data.views.dataset_view import open_dataset
    from selfclean_hooks.utils.progress import bar
    from selfclean_hooks.utils.rng import preserve_rng_state  # these need torch; the names above do not

    found: dict[int, bytes] = {}
    if not positions:
        return found
    view = open_dataset(dataset)
    with preserve_rng_state(view.dataset), bar("making thumbnails", reading.progress) as tick:
        loader, _ = loader_of(ThumbnailReader(view.stored.items, None), reading, positions)
        for done, batch in enumerate(loader, 1):
            there = [sample.index for sample in batch.samples if not sample.error]
            found.update(zip(there, batch.contents, strict=True))
            if tick is not None:
                tick(min(done * reading.batch_size, len(positions)), len(positions))
    return found
