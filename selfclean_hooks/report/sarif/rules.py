"""What SARIF says of every issue: what it is, and what to do about it."""

from __future__ import annotations

from typing import Any


def _rule(issue: str, name: str, short: str, full: str, help: str) -> dict[str, Any]:
    return {
        "id": issue,
        "name": name,
        "shortDescription": {"text": short},
        "fullDescription": {"text": full},
        "help": {"text": help, "markdown": help},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["data-quality"]},
    }


RULES = (
    _rule(
        "near-duplicates",
        "NearDuplicateSample",
        "The sample is a near duplicate of another one.",
        "Another sample of the same split shows the same content, or nearly so. Copies count more than once in "
        "training and in every metric. Surplus copies are reported, the copy that is kept is not.",
        "Look at both samples. Remove the surplus copy, or accept the finding in the baseline if they are meant to be "
        "two.",
    ),
    _rule(
        "off-topic",
        "OffTopicSample",
        "The sample lies far from all others.",
        "The sample has little in common with the rest of the data: another kind of picture, a broken or an empty one.",
        "Look at the sample. Remove it if it does not belong here, or accept the finding in the baseline if it is rare "
        "and right.",
    ),
    _rule(
        "label-errors",
        "DoubtfulLabel",
        "The label of the sample is in doubt.",
        "The samples most like this one carry another label, or copies of it do.",
        "Look at the sample and at its label. Mend the label, or accept the finding in the baseline if it is right.",
    ),
    _rule(
        "leakage",
        "SampleInTwoSplits",
        "The sample is in another split too.",
        "A near duplicate of the sample is in a split that is meant to be independent of this one, so results measured "
        "there are too good.",
        "Remove the sample from one of the splits, best from the one that is trained on.",
    ),
    _rule(
        "unreadable",
        "UnreadableSample",
        "The sample cannot be read.",
        "Reading the sample fails, as it would in training.",
        "Mend or replace the file, or remove it from the data.",
    ),
)
