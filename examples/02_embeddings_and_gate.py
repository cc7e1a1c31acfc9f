"""Bring your own embeddings; other thresholds at no cost; save, load and check against limits."""

import tempfile
from pathlib import Path

from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit_embeddings
from selfclean_hooks.testing import contaminate, digits, off_topic_patches

images, labels = digits()
planted = contaminate(images, labels, off_topic_patches(100, 8), seed=0)
vectors = planted.images.reshape(len(planted.images), -1)  # pixels: any (N, D) array will do

a = audit_embeddings(vectors, planted.labels, method="selfclean")
print(a.summary.to_string(), "\n")
print(a.pairs.head().to_string(), "\n")

strict = a.at(thresholds=Thresholds(label_errors=0.4), policy=Policy(near_duplicates="drop", label_errors="drop"))
print(f"{len(strict.clean_indices)} of {len(a)} kept at the stricter threshold\n")

with tempfile.TemporaryDirectory() as folder:
    strict.save(folder)
    print(sorted(path.name for path in Path(folder).iterdir()), "\n")
    verdict = Audit.load(folder).check(Limits(label_errors=0.02, near_duplicates=0.10))
print("passed" if verdict else "failed", *verdict.reasons, sep="\n  ")
assert not verdict
