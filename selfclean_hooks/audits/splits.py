"""`SplitsAudit`: the audits of several splits that can be shown, checked, saved and loaded."""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selfclean_hooks.audits.audit import Audit, as_audit
from selfclean_hooks.decisions.review.file import as_review
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Limits, check
from selfclean_hooks.report.formats import export
from selfclean_hooks.results.splits import LEAKAGE, SHIFT, SplitsResult
from selfclean_hooks.storage.applied.new_folder import mode_of
from selfclean_hooks.storage.commit import check_output
from selfclean_hooks.storage.ownership import PAGE, remove_pages
from selfclean_hooks.storage.splits import BACK, leakage_rows, load, save, split_folders, write_reports

if TYPE_CHECKING:
    import pandas as pd

    from selfclean_hooks.decisions.review.marks import Review
    from selfclean_hooks.gate.verdict import Verdict
    from selfclean_hooks.storage.applied.application import Applied


class SplitsAudit(SplitsResult[Audit]):
    """A `SplitsResult` with tables and pages, that can be checked against limits, saved and loaded."""

    def with_decisions(self, review: Review | str | Path | Iterable[str | Path]) -> SplitsAudit:
        """The same measurements with review decisions about findings of each split."""
        given = as_review(review)
        decided = {name: audit.with_review(given.of(name) if name else given) for name, audit in self.audits.items()}
        return SplitsAudit(decided, self.shifts)

    def save(self, folder: str | Path, verdict: Verdict | None = None, report: bool = True) -> None:
        """Write a folder for each split as `Audit.save` does, leakage.csv, splits.json and report.html.

        Args:
            folder: created if need be.
            verdict: shown on the pages.
            report: False: no pages; those of an earlier audit are removed.

        Raises:
            AuditFileError: the folder cannot be written, or holds files of these names that no audit wrote.
            PolicyError: a policy would drop too much; everything but that clean_indices.txt is written first.
        """
        places = split_folders(self.audits).values()
        check_output(Path(folder), places)
        if not report:
            remove_pages([Path(folder) / PAGE, *(Path(folder) / place / PAGE for place in places)])
        save(self, Path(folder), *(split_pages(self, Path(folder), verdict) if report else (None, {})))

    def apply(
        self,
        to: str | Path,
        mode: Literal["link", "copy", "move", "list"] = "link",
        sources: Mapping[str, str | Path] | None = None,
        dry_run: bool = False,
    ) -> tuple[Applied, ...]:
        """Write each split into a folder of its own in `to`, as `Audit.apply` does; `Audit.undo` moves back.

        Samples that leak are dropped where the policy of their split says so.

        Args:
            to: a folder that is new or empty, outside of the sources.
            mode: as for `Audit.apply`.
            sources: name of the split -> its data, where it lies elsewhere now.
            dry_run: check everything and write nothing.
        """
        from selfclean_hooks.storage.applied.application import apply

        given = {name: str(source) for name, source in (sources or {}).items()}
        return tuple(apply(self.audits, Path(to), mode_of(mode), given, dry_run))

    def export(self, format: str, path: str | Path) -> list[Path]:
        """Write all splits in the format of another tool; see `Audit.export`."""
        return export(self.audits, format, Path(path))

    @staticmethod
    def load(folder: str | Path) -> SplitsAudit:
        """Read what `save` wrote.

        Raises:
            AuditFileError: the folder holds no audit of splits, is damaged, or has another version.
        """
        found = load(Path(folder))
        return SplitsAudit({name: as_audit(one) for name, one in found.audits.items()}, found.shifts)

    @property
    def shift(self) -> pd.DataFrame:
        """Distribution shift between splits, one row for each two of them.

        Columns split_1, split_2, distance (squared Frechet distance in the embedding), expected (its median for random
        splits of the same samples), p_value, components, explained (share of the variance in these components).
        """
        import pandas as pd

        table: pd.DataFrame = pd.DataFrame(list(self.shifts), columns=list(SHIFT))
        return table

    @property
    def leakage(self) -> pd.DataFrame:
        """Near duplicates in two splits: split_1, index_1, split_2, index_2, distance; worst first.

        One threshold applies to all pairs, that for near duplicates in the training split. Listed are the nearest
        neighbour of every flagged sample in every other split, and up to 7 more below the threshold.
        """
        return self._table(self.leaking, LEAKAGE)

    @property
    def label_disagreements(self) -> pd.DataFrame:
        """The rows of `leakage` whose samples carry different labels, with label_1 and label_2."""
        return self._table(self.disagreeing, (*LEAKAGE, "label_1", "label_2"))

    def _table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
        import pandas as pd

        kinds = {column: np.int64 if column.startswith("index") else object for column in columns}
        table: pd.DataFrame = pd.DataFrame(
            {
                column: np.array([row[column] for row in rows], np.float32 if column == "distance" else kinds[column])
                for column in columns
            }
        )
        return table

    def open_review(self, folder: str | Path | None = None) -> Path:
        """Write the pages of all splits and open the one that leads to them; see `Audit.open_review`."""
        place = Path(tempfile.mkdtemp(prefix="selfclean-") if folder is None else folder)
        for name in split_folders(self.audits).values():
            (place / name).mkdir(parents=True, exist_ok=True)
        write_reports(self, place, *split_pages(self, place))
        webbrowser.open((place / "report.html").resolve().as_uri())
        return place / "report.html"

    def _repr_html_(self) -> str:
        """Issues by split and what splits share, then each split, for notebooks."""
        from selfclean_hooks.report.figures.notebook import splits_as_html

        return splits_as_html(self)

    def check(
        self,
        limits: Limits | Mapping[str, Limits] | None = None,
        baseline: Baseline | str | Path | None = None,
    ) -> Verdict:
        """Whether every split is within its limits; findings listed in `baseline` are ignored.

        Args:
            limits: the same for every split, or by name of the split (none for a split left out).
            baseline: a baseline or its path; with one and without limits, any new finding fails.

        Raises:
            SettingError: limits are given for an unknown split.
            AuditFileError: the baseline cannot be read.
        """
        by_split = limits if isinstance(limits, Mapping) else dict.fromkeys(self.audits, limits or Limits())
        return check(self.audits, by_split, Baseline.given(baseline))


def split_pages(result: SplitsAudit, folder: Path, verdict: Verdict | None = None) -> tuple[bytes, dict[str, bytes]]:
    """The index page of all splits in a folder, and the page of each by name of the split."""
    from selfclean_hooks.report.html.page import render
    from selfclean_hooks.report.html.splits_page import render_splits

    places = split_folders(result.audits)
    whole = render_splits(result, places, leakage_rows(result), verdict)
    pages = {}
    for name, audit in result.audits.items():
        own = None if verdict is None else verdict.of(name)
        pages[name] = render(audit, verdict=own, back=BACK, place=folder / places[name] / PAGE).encode()
    return whole.encode(), pages
