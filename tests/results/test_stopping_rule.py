"""How many consecutive non-issues it takes until reviewing can stop."""

import pytest

from selfclean_hooks.core.calibration import clean_in_a_row
from selfclean_hooks.results.stopping_rule import stopping_rule


@pytest.mark.parametrize(
    ("verdicts", "fine", "start", "reached"),
    [
        ([], 0, 1, False),
        (["rejected"] * 57, 57, 1, False),
        (["rejected"] * 58, 58, 1, True),
        (["confirmed"] + ["rejected"] * 58 + [""] * 9, 58, 2, True),
        (["rejected"] * 58 + ["relabelled"], 0, 60, False),
        (["confirmed", ""] + ["rejected"] * 58, 58, 3, False),
        (["rejected"] * 30 + [""] + ["rejected"] * 30, 30, 32, False),
    ],
)
def test_how_many_are_fine_in_a_row(verdicts: list[str], fine: int, start: int, reached: bool) -> None:
    assert clean_in_a_row() == 58
    row = stopping_rule(verdicts)
    assert (row.fine, row.start, row.reached) == (fine, start, reached)


def test_the_sentence_about_a_row() -> None:
    assert stopping_rule(["confirmed"] + ["rejected"] * 58).describe("off_topic") == (
        "off_topic: 58 consecutive non-issues from rank 2 on: reviewing can stop, an estimated "
        "5% at most of the rest are issues"
    )
    assert stopping_rule(["rejected"]).describe("off_topic").endswith("1 on; reviewing can stop after 58")
