"""The issues, one row each: everything that lists issues is derived from this table.

A new issue is a detector, a row in `detectors/methods.py`, a row here, and a field of its name in `Thresholds`,
`Policy` and `Limits`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """The rule of an issue in SARIF: what it is and what to do about it."""

    name: str
    summary: str
    explanation: str
    advice: str


@dataclass(frozen=True)
class Issue:
    """How an issue is named, scored and shown.

    Attributes:
        name: key in settings, tables, files and JSON.
        title: heading on pages and figures.
        noun: one finding, in reasons: "confirmed by review (near duplicate)".
        description: what the page lists.
        question: what a reviewer decides, with the two answers: it is an issue, it is none.
        answers: see `question`.
        colour: on the map.
        rule: for SARIF.
        score_field: field of `Scores` with the scores of its detector and stem of the columns in `Audit.frame`; an
            issue without a field of that name is in `Scores.extra`. "": no detector scores it.
        threshold: the issue whose threshold in `Thresholds` decides what is flagged; "": nothing is compared.
        is_pair: whether a finding is about two samples.
        after_count: see `phrase`; "": the name.
        is_by_request: whether it is looked for only where the user asked for it, by no detector of a method.
        unasked: why an audit did not look for it, where that is not an error of the data.
        aspects: what a finding may be more precisely, each with scores of its own, of which the lowest is the issue's.
        widest_claim: 95% interval of the precision in which a number is claimed; where it is wider, the interval is.
    """

    name: str
    title: str
    noun: str
    description: str
    rule: Rule
    question: str = ""
    answers: tuple[str, str] = ("Confirm", "Not an issue")
    colour: str = ""
    score_field: str = ""
    threshold: str = ""
    is_pair: bool = False
    after_count: str = ""
    is_by_request: bool = False
    unasked: str = ""
    aspects: tuple[str, ...] = ()
    widest_claim: float = 1.0

    @property
    def words(self) -> str:
        """The name in a sentence: "near duplicates"."""
        return self.name.replace("_", " ")

    @property
    def phrase(self) -> str:
        """What follows a count: "3 leaking into other splits"."""
        return self.after_count or self.words


ISSUES = (
    Issue(
        name="near_duplicates",
        title="Near duplicates",
        noun="near duplicate",
        description="Sets of near duplicates, the worst first; one copy of each set is kept. Above the threshold: the "
        "next nearest pairs.",
        question="Do these show the same thing?",
        answers=("Confirm: drop the surplus", "Not an issue: keep all"),
        colour="#3b7dd8",
        rule=Rule(
            "NearDuplicateSample",
            "The sample is a near duplicate of another one.",
            "Another sample of the same split shows the same content, or nearly so. Copies count more than once in "
            "training and in every metric. Surplus copies are reported, the copy that is kept is not.",
            "Inspect both samples. Remove the surplus copy, or accept the finding in the baseline if both belong here.",
        ),
        score_field="near_duplicate",
        threshold="near_duplicates",
        is_pair=True,
    ),
    Issue(
        name="off_topic",
        title="Off topic",
        noun="off topic",
        description="Samples unlike all others, the worst first.",
        question="Is this off topic?",
        answers=("Confirm: off topic", "Not an issue: belongs here"),
        colour="#e08a1e",
        rule=Rule(
            "OffTopicSample",
            "The sample lies far from all others.",
            "The sample has little in common with the rest of the data: another kind of image, a broken or an empty "
            "one.",
            "Inspect the sample. Remove it if it does not belong here, or accept the finding in the baseline if it is "
            "rare but valid.",
        ),
        score_field="off_topic",
        threshold="off_topic",
    ),
    Issue(
        name="label_errors",
        title="Label errors",
        noun="label",
        description="Samples whose label does not fit, the worst first: given label → predicted label.",
        question="Is the label wrong?",
        answers=("Confirm: label wrong", "Not an issue: label correct"),
        colour="#d9534a",
        rule=Rule(
            "DoubtfulLabel",
            "The label of the sample is in doubt.",
            "The samples most like this one carry another label, or copies of it do.",
            "Inspect the sample and its label. Fix the label, or accept the finding in the baseline if it is correct.",
        ),
        score_field="label",
        # Of 250 audits with planted errors, or those of people, 67 have an interval as narrow: the precision is within
        # 0.1 of the claimed one in 63 of these, in 150 of all; the interval holds it in 248.
        widest_claim=0.45,
        threshold="label_errors",
    ),
    Issue(
        name="group_leakage",
        title="Groups in several splits",
        noun="group leakage",
        description="Samples whose group (patient, film, burst) has samples in another split, too.",
        question="Is this group to be in one split alone?",
        answers=("Confirm: drop here", "Not an issue: keep"),
        colour="#9a6a3a",
        rule=Rule(
            "GroupInTwoSplits",
            "Samples of the same group are in another split.",
            "Another split, meant to be independent of this one, holds samples of the same group, as further images of "
            "the patient or frames of the film, so results measured there are too good.",
            "Keep each group in one split: remove the sample here, or move its group as a whole.",
        ),
        score_field="group_leakage",
        threshold="group_leakage",
        after_count="of groups that are in other splits too",
        is_by_request=True,
        unasked="no groups or no other split were given",
    ),
    Issue(
        name="image_quality",
        title="Image quality",
        noun="image quality",
        description="Images that are dark, bright, blurry, blank, or of an odd size or shape, the worst first.",
        question="Is this image of no use?",
        answers=("Confirm: of no use", "Not an issue: usable"),
        colour="#5f8a3a",
        rule=Rule(
            "PoorImage",
            "The image is of poor quality.",
            "The image is dark, bright, blurry or blank, or of an odd size or shape, both by itself and beside the "
            "others: little can be seen on it, or not what the others show.",
            "Inspect the image. Remove or replace it if nothing can be learned from it, or accept the finding in the "
            "baseline if the model is to cope with such images.",
        ),
        score_field="image_quality",
        threshold="image_quality",
        after_count="of poor image quality",
        is_by_request=True,
        unasked="it is measured on request: audit with --image-quality, or image_quality=True",
        aspects=("dark", "bright", "blurry", "blank", "odd_size", "odd_shape"),
    ),
    Issue(
        name="leakage",
        title="Leakage",
        noun="leakage",
        description="Pairs of a sample of this split and one of another split that show the same thing.",
        question="Do these show the same thing?",
        answers=("Confirm: drop here", "Not an issue: no leakage"),
        colour="#7a5bd0",
        rule=Rule(
            "SampleInTwoSplits",
            "The sample is in another split too.",
            "A near duplicate of the sample is in a split that is meant to be independent of this one, so results "
            "measured there are too good.",
            "Remove the sample from one of the splits, preferably from the one that is trained on.",
        ),
        threshold="near_duplicates",
        is_pair=True,
        after_count="leaking into other splits",
        unasked="no other split was given",
    ),
    Issue(
        name="unreadable",
        title="Unreadable",
        noun="unreadable",
        description="Samples that cannot be read.",
        rule=Rule(
            "UnreadableSample",
            "The sample cannot be read.",
            "Reading the sample fails, as it would in training.",
            "Fix or replace the file, or remove it from the data.",
        ),
    ),
)

BY_NAME = {issue.name: issue for issue in ISSUES}
NAMES = tuple(BY_NAME)
SCORED = tuple(issue.name for issue in ISSUES if issue.score_field)
WITH_THRESHOLD = tuple(issue.name for issue in ISSUES if issue.threshold)
PAIRS = tuple(issue.name for issue in ISSUES if issue.is_pair)
TOTAL = "total"  # samples with any issue: has a limit and is no issue
