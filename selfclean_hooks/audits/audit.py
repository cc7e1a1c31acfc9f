"""`Audit`: an audit result that can be shown, checked, saved and loaded."""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from selfclean_hooks.audits.tables import AuditTables
from selfclean_hooks.decisions.review.file import as_review
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Limits, check
from selfclean_hooks.report.formats import export
from selfclean_hooks.results.result import AuditResult
from selfclean_hooks.storage.applied.journal import undo
from selfclean_hooks.storage.applied.new_folder import mode_of
from selfclean_hooks.storage.commit import check_output
from selfclean_hooks.storage.folder import load, save
from selfclean_hooks.storage.ownership import PAGE, remove_pages, write_pages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from selfclean_hooks.decisions.review.marks import Review
    from selfclean_hooks.gate.verdict import Verdict
    from selfclean_hooks.storage.applied.application import Applied


class Audit(AuditTables):
    """An `AuditResult` with tables, pages and figures, that can be checked against limits, saved and loaded.

    Fields, `contamination`, `clean_indices`, `worst`, `at` and `enforce` are those of `AuditResult`.
    """

    def with_decisions(self, review: Review | str | Path | Iterable[str | Path]) -> Audit:
        """The same measurements with review decisions about findings, added to earlier ones.

        See `AuditResult.with_review` for what a decision does.

        Args:
            review: a `Review`, or files of decisions exported from the report; later files override earlier ones.

        Raises:
            AuditFileError: a file holds no decisions.
            SettingError: the near-duplicate threshold is above the scores of the listed pairs.
        """
        return self.with_review(as_review(review))

    def save(self, folder: str | Path, verdict: Verdict | None = None, report: bool = True) -> None:
        """Write manifest.json, samples.csv, pairs.csv, clean_indices.txt, scores.npz and report.html into `folder`.

        Where each sample has a file of its own, clean_files.txt lists those that are kept.

        With other splits leakage.csv too, with review decisions decisions.json, with new labels relabelled.csv, with a
        small encoder trained by this package encoder.safetensors.

        Args:
            folder: created if need be.
            verdict: shown on the page.
            report: False: no page; that of an earlier audit is removed.

        Raises:
            AuditFileError: the folder cannot be written, or holds files of these names that no audit wrote.
            PolicyError: the policy would drop too much; everything but clean_indices.txt is written first.
        """
        from selfclean_hooks.report.html.page import render

        check_output(Path(folder))
        if not report:
            remove_pages([Path(folder) / PAGE])
        page = {PAGE: render(self, verdict=verdict, place=Path(folder) / PAGE).encode()} if report else {}
        save(self, Path(folder), page)

    @staticmethod
    def load(folder: str | Path) -> Audit:
        """Read what `save` wrote.

        Raises:
            AuditFileError: the folder holds no saved audit, is damaged, or has another version.
        """
        return as_audit(load(Path(folder)))

    def check(self, limits: Limits | None = None, baseline: Baseline | str | Path | None = None) -> Verdict:
        """Whether the contamination is within `limits`; findings listed in `baseline`, or in that file, are ignored.

        With a baseline and without limits, any new finding fails.

        Raises:
            AuditFileError: the file cannot be read.
        """
        return check({"": self}, {"": limits or Limits()}, Baseline.given(baseline))

    def to_html(self, path: str | Path) -> None:
        """Write the report, one self-contained HTML file.

        Raises:
            AuditFileError: it cannot be written, or there is a file that is no report.
        """
        from selfclean_hooks.report.html.page import render

        write_pages({Path(path): render(self, place=Path(path)).encode()})

    def open_review(self, path: str | Path | None = None) -> Path:
        """Write the report and open it in the browser, from a notebook say; `with_decisions` takes what it exports.

        Args:
            path: of the page; default: a new temporary folder. Beside the data, it links to the files of the images.

        Returns:
            The page.

        Raises:
            AuditFileError: see `to_html`.
        """
        page = Path(tempfile.mkdtemp(prefix="selfclean-"), "report.html") if path is None else Path(path)
        self.to_html(page)
        webbrowser.open(page.resolve().as_uri())
        return page

    def apply(
        self,
        to: str | Path,
        mode: Literal["link", "copy", "move", "list"] = "link",
        source: str | Path | None = None,
        dry_run: bool = False,
    ) -> Applied:
        """Write the audited data without what is dropped, with the new labels of the review, in the form it came in.

        A folder of images gives a folder with the same names, an image with a new label in the folder of its class; a
        table, an .npz file or a saved Hugging Face data set one of the same name and columns. `to` also gets
        dropped.csv, with a reason for each, and relabelled.csv. The source is never changed but with "move".

        Args:
            to: a folder that is new or empty, outside of the source.
            mode: "link": files are hard links, copies where these are not possible. "copy": copies. "list": only the
                lists, and clean_files.txt. "move": the folder of images itself is cleaned: what is dropped is moved to
                `to`/dropped/ISSUE, images with a new label to the folder of their class; see `undo`.
            source: the data, where it lies elsewhere now, or where it was audited by an object made by code: SOURCE as
                on the command line.
            dry_run: check everything and write nothing.

        Returns:
            What was changed, in numbers.

        Raises:
            SourceError: the source is not there, changed since the audit, or cannot take a new label.
            SettingError: `to` is no such folder, or the mode does not suit the source.
            PolicyError: the policy would drop too much.
            AuditFileError: something cannot be written; nothing is left of it.
        """
        from selfclean_hooks.storage.applied.application import apply

        sources = {} if source is None else {"": str(source)}
        return apply({"": self}, Path(to), mode_of(mode), sources, dry_run)[0]

    @staticmethod
    def undo(to: str | Path, dry_run: bool = False) -> int:
        """Move back what `apply(to, "move")` moved, and return how many files. Can be repeated after a kill.

        Args:
            to: the folder.
            dry_run: check whether places are free, and move nothing.

        Raises:
            AuditFileError: nothing was moved there, or a file cannot be moved.
            SourceError: a place is taken, or the folder that the files came from is gone, in which case nothing is
                moved; or a file is in neither place.
        """
        return undo(Path(to), dry_run)

    def export(self, format: str, path: str | Path) -> list[Path]:
        """Write the audit in the format of another tool, and return what was written; nothing is replaced.

        Args:
            format: "csv", "parquet" (a row for each sample), "cleanlab" (Datalab's columns, as CSV), "fiftyone" (a
                folder for its LegacyFiftyOneDataset), "label-studio" (tasks, and their labelling interface beside
                them), "croissant" (metadata of all samples beside a CSV) or "hf" (a saved Hugging Face data set).
            path: of the new file or folder.

        Raises:
            SettingError: there is no such format, something is there, or the format needs what the audit lacks.
            AuditFileError: it cannot be written.
        """
        return export({"": self}, format, Path(path))

    def _repr_html_(self) -> str:
        """Summary and worst findings, for notebooks."""
        from selfclean_hooks.report.figures.notebook import as_html

        return as_html(self)

    def plot(self, issue: str | None = None, most: int = 24) -> Figure:
        """Images of the worst findings of an issue, with the histogram of the scores and the threshold.

        A surplus copy is shown beside the kept one, a label error with given and predicted label; flagged findings are
        red. No global state of matplotlib is changed and pyplot is not used: `.savefig(path)` writes the figure.

        Args:
            issue: "near_duplicates", "off_topic", "label_errors", or another that was looked for; None: an overview.
            most: number of images or pairs, at least 1.

        Raises:
            SettingError: there is no such issue, `most` is not valid, or matplotlib is not installed.
        """
        try:
            from selfclean_hooks.report.figures.plots import plot
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("matplotlib"):
                raise
            raise SettingError("plots need matplotlib: pip install matplotlib") from error
        return plot(self, issue, most)


def as_audit(result: AuditResult) -> Audit:
    """The result as an `Audit`."""
    return Audit(**{field.name: getattr(result, field.name) for field in fields(result)})
