"""Audits of samples that are points on a line, and what a baseline says of them."""

from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit_embeddings
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.decisions.settings import Keep
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Verdict
from tests.decisions.test_duplicate_sets import scores_between


@dataclass(frozen=True)
class Sample:
    """A file: its content is a place on a line, where near duplicates are up to 2 apart."""

    place: int
    label: int = 0
    is_off_topic: bool = False
    is_mislabelled: bool = False
    is_broken: bool = False
    name: str = ""

    @property
    def digest(self) -> str:
        return blake2b(repr((self.place, self.is_off_topic, self.is_broken)).encode(), digest_size=16).hexdigest()


def audit_of(samples: list[Sample], policy: Policy | None = None) -> Audit:
    """Readable or broken samples; off-topic and mislabelled ones have a low score."""
    place = np.array([1e6 + 1e3 * i if s.is_broken else s.place for i, s in enumerate(samples)])
    d = np.abs(place[:, None] - place) / 2.0**20
    scores = scores_between(
        d,
        off_topic=np.array([0.01 if s.is_off_topic else 0.9 for s in samples]),
        label=np.array([0.01 if s.is_mislabelled else 0.9 for s in samples]),
        given_label=np.array([s.label for s in samples]),
        pixels=np.array([s.place % 3 for s in samples]),
        errors={i: "gone" for i, s in enumerate(samples) if s.is_broken},
    )
    names, digests = zip(*((s.name, s.digest) for s in samples), strict=True)
    return Audit(scores, Thresholds(near_duplicates=2.5 / 2.0**20), policy or Policy(), names=names, digests=digests)


def new(verdict: Verdict) -> dict[str, list[int]]:
    """Issue: what is found beside the baseline."""
    return {each.issue: each.found.tolist() for each in verdict.checks if len(each.found)}


def checked(samples: list[Sample], baseline: Baseline, policy: Policy | None = None) -> Verdict:
    return audit_of(samples, policy).check(Limits(), baseline)


ANY = st.builds(
    Sample,
    place=st.integers(0, 20),
    label=st.integers(0, 2),
    is_off_topic=st.booleans(),
    is_mislabelled=st.booleans(),
    is_broken=st.booleans(),
    name=st.text(max_size=4),
)


SAMPLES = st.lists(ANY, min_size=2, max_size=12)


KEEP: st.SearchStrategy[Keep] = st.sampled_from(["first", "most_central", "largest_image"])


FILES = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


SOME_CLEAN = [Sample(1000), Sample(1100), Sample(1200)]


def leaking(*pairs: tuple[int, str], n: int = 4) -> Audit:
    """Samples of train at positions with near duplicates of some content in val."""
    audit = audit_of([Sample(100 * i) for i in range(n)])
    index = np.array([position for position, _ in pairs])
    ones = np.ones(len(pairs), np.int64)
    leaks = LeakPairs(
        *(("train", "val"), (n, 9), ones, index, ones, np.zeros(len(pairs), np.float32)),
        other_digests=tuple(content for _, content in pairs),
    )
    return replace(audit, scores=replace(audit.scores, leaks=leaks))


def automatic(n: int, seed: int = 0) -> Audit:
    """Classes with some labels wrong and some vectors far away: the first n of one sequence."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 400)
    vectors = rng.normal(size=(400, 8)) + 3 * np.eye(8)[labels]
    vectors[::40] = rng.normal(size=(10, 8)) * 3
    vectors[1::20] = vectors[::20] + 0.1 * rng.normal(size=(20, 8))
    given = np.where(np.arange(400) % 17 == 0, (labels + 1) % 4, labels)
    return audit_embeddings(vectors[:n], given[:n])
