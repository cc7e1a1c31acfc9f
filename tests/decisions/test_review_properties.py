"""Marks and nothing else are obeyed, against a slow twin."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selfclean_hooks import Audit, Policy, Thresholds
from selfclean_hooks.decisions.settings import Keep
from tests.decisions.reviewed_audits import DIGEST, IGNORE, reviewed
from tests.decisions.test_duplicate_sets import scores_between
from tests.helpers.review_data import mark

THRESHOLD = 2.5 / 2.0**20


POLICIES = st.builds(
    Policy,
    *(st.sampled_from(["ignore", "warn", "drop"]) for _ in range(4)),
    max_drop_fraction=st.just(1.0),
    keep=st.sampled_from(["first", "most_central", "largest_image"]),
)


SAMPLE = st.tuples(st.integers(0, 12), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2))


def line_of(samples: Sequence[tuple[int, bool, bool, bool, int]], policy: Policy) -> Audit:
    """Samples are places on a line, near duplicates up to 2 apart; the same place is the same content."""
    place = np.array([1e6 + 1e3 * i if broken else at for i, (at, _, _, broken, _) in enumerate(samples)])
    scores = scores_between(
        np.abs(place[:, None] - place) / 2.0**20,
        off_topic=np.array([0.01 if odd else 0.9 for _, odd, *_ in samples]),
        label=np.array([0.01 if wrong else 0.9 for _, _, wrong, *_ in samples]),
        given_label=np.array([label for *_, label in samples]),
        pixels=np.array([at % 3 for at, *_ in samples]),
        errors={i: "gone" for i, (*_, broken, _) in enumerate(samples) if broken},
    )
    digests = tuple(DIGEST(int(at)) for at in place)
    names = tuple(f"{i}.png" for i in range(len(samples)))
    return Audit(scores, Thresholds(near_duplicates=THRESHOLD), policy, names=names, digests=digests)


@given(samples=st.lists(SAMPLE, min_size=2, max_size=10), policy=POLICIES, data=st.data())
def test_marks_and_nothing_else_are_obeyed(samples: Any, policy: Policy, data: st.DataObject) -> None:
    audit = line_of(samples, policy)
    before, n = audit.decisions, len(audit)
    single = {}
    for issue in ("off_topic", "label_errors", "unreadable"):
        there = list(range(n)) if issue != "unreadable" else sorted(audit.scores.errors)
        chosen = data.draw(st.lists(st.sampled_from(there), unique=True)) if there else []
        single[issue] = {i: data.draw(st.sampled_from(["confirmed", "rejected"])) for i in chosen}
    surplus = before.surplus.nonzero()[0].tolist()
    chosen = data.draw(st.lists(st.sampled_from(surplus), unique=True)) if surplus else []
    copies = {i: data.draw(st.sampled_from(["confirmed", "rejected"])) for i in chosen}
    given_marks = [mark(audit, issue, v, i) for issue, of in single.items() for i, v in of.items()]
    given_marks += [mark(audit, "near_duplicates", v, i, before.duplicates.of(i)[1]) for i, v in copies.items()]
    found = reviewed(audit, *data.draw(st.permutations(given_marks)))
    now = found.decisions
    assert not {m.issue for m in now.unmatched} - {"near_duplicates"}

    for issue, verdicts in single.items():  # flags: as decided, and otherwise unchanged
        expected = [verdicts[i] == "confirmed" if i in verdicts else bool(before.flags[issue][i]) for i in range(n)]
        assert now.flags[issue].tolist() == expected
        assert now.dismissed[issue].nonzero()[0].tolist() == [
            i for i, v in sorted(verdicts.items()) if v == "rejected" and before.flags[issue][i]
        ]
    sure = {i for verdicts in single.values() for i, v in verdicts.items() if v == "confirmed"}
    if not sure and "drop" not in (policy.off_topic, policy.label_errors, policy.unreadable):
        assert now.surplus.tolist() == [before.surplus[i] and copies.get(i) != "rejected" for i in range(n)]
        sure |= {i for i, v in copies.items() if v == "confirmed"}
        assert now.confirmed.nonzero()[0].tolist() == sorted(sure)
    assert now.dropped[now.confirmed].all(), "whatever the policy"
    for issue, at in (
        (issue, at) for issue, held in now.marks.items() for at, m in held.items() if m.verdict == "rejected"
    ):
        assert not now.contamination_mask(issue)[at]
    for number, kept in enumerate(now.duplicates.kept.tolist()):  # one of each set stays, and that beside its copies
        members = (now.sets == number).nonzero()[0]
        assert len(members) >= 2
        assert [i for i in members.tolist() if not now.surplus[i]] == [kept]
        assert now.duplicates.distance[kept] == 0
        joined = [i for i in members.tolist() if not now.duplicates.distance[i] < THRESHOLD]
        assert now.confirmed[joined].all(), "what is above the threshold is there because a person said so"
    dropping = [i for i in ("off_topic", "label_errors", "unreadable") if policy.action(i) == "drop"]
    wanted = now.confirmed | np.any([np.zeros(n, bool), *(now.flags[i] for i in dropping)], axis=0)
    wanted |= now.surplus & (policy.near_duplicates == "drop")
    spared = wanted & ~now.dropped
    assert not (now.dropped & ~wanted).any()
    for i in spared.nonzero()[0].tolist():
        assert now.reason[i].endswith("kept: its class would otherwise be empty")
        alike = [j for j in range(n) if samples[j][4] == samples[i][4] and not samples[j][3]]
        assert all(now.dropped[j] or j == i for j in alike)


@given(samples=st.lists(SAMPLE, min_size=2, max_size=10), policy=POLICIES, data=st.data())
def test_decisions_hold_when_thresholds_and_kept_copies_change(
    samples: Any, policy: Policy, data: st.DataObject
) -> None:
    """Whatever pairs were confirmed, one of each two goes; what is rejected stays; no set loses its last copy."""
    audit, n = line_of(samples, replace(policy, near_duplicates="warn")), len(samples)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique_by=lambda pair: tuple(sorted(pair)), max_size=5))
    given_marks = [
        mark(audit, "near_duplicates", data.draw(st.sampled_from(["confirmed", "rejected"])), i, j) for i, j in chosen
    ]
    threshold = data.draw(st.sampled_from([0.0, 1.5 / 2**20, THRESHOLD, None]))
    keep: Keep = data.draw(st.sampled_from(["first", "most_central", "largest_image"]))
    found = reviewed(audit, *given_marks).at(
        thresholds=Thresholds(near_duplicates=threshold), policy=replace(IGNORE, keep=keep)
    )
    now = found.decisions
    held = now.marks["near_duplicates"]
    for at, m in held.items():
        assert (
            now.surplus[at]
            == (m.verdict == "confirmed")
            == bool(now.confirmed[at])
            == bool(now.flags["near_duplicates"][at])
        )
    assert now.dropped.nonzero()[0].tolist() == [i for i, m in held.items() if m.verdict == "confirmed"]
    assert not now.dropped[now.duplicates.kept].any()
    for m in now.unmatched:
        sets = now.sets[[m.index, m.other_index]]
        assert m.verdict == "rejected" or sets[0] == sets[1] >= 0, "only a ring leaves a confirmed one"
    reported = {(m.index, m.other_index) for m in (*held.values(), *now.unmatched)}
    for m in given_marks:  # overruled only by another mark about the same surplus copy
        assert (m.index, m.other_index) in reported or held.keys() & {m.index, m.other_index}
    again = reviewed(found, *given_marks)
    assert again.decisions.reason == now.reason
