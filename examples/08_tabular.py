"""Audit the rows of a table: scikit-learn's breast-cancer data with copies, outliers and wrong labels planted."""

from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import Tensor, from_numpy

from selfclean_hooks import audit


class Rows:
    """A table as a data set; the report finds the columns' names in `feature_names`."""

    def __init__(self, values: Any, labels: Any, feature_names: Any) -> None:
        self.values, self.labels, self.feature_names = values, labels, feature_names

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"features": self.values[index], "label": self.labels[index]}


table = load_breast_cancer()
values, labels, clean = table.data.copy(), table.target.copy(), len(table.data)
rng = np.random.default_rng(0)

# planted: 10 wrong labels, 8 copies with a little noise, and 5 rows where three values are ten times too large
wrong, copied, broken = (rng.choice(clean, count, replace=False) for count in (10, 8, 5))
labels[wrong] = 1 - labels[wrong]
copies = values[copied] * (1 + rng.normal(0, 0.003, values[copied].shape))
outliers = values[broken]
for row in outliers:
    row[rng.choice(len(row), 3, replace=False)] *= 10
values = np.vstack([values, copies, outliers])
labels = np.concatenate([labels, labels[copied], labels[broken]])

dataset = Rows(values, table.target_names[labels], table.feature_names)
scaler = StandardScaler().fit(values)


def embed(rows: Tensor) -> Tensor:
    """(B, 30) of B rows, every column of mean 0 and deviation 1: else the largest numbers decide alone."""
    return from_numpy(scaler.transform(rows.numpy()))


a = audit(dataset, embed, progress=False)
print(f"{clean} rows of {values.shape[1]} columns, {len(values) - clean} rows added\n{a.summary.to_string()}\n")

flagged = a.pairs.loc[a.pairs["is_near_duplicate_issue"], ["index_1", "index_2"]].to_numpy().tolist()
pairs = sum([int(i), clean + place] in flagged for place, i in enumerate(copied))
errors = np.isin(wrong, a.frame["label_score"].sort_values().index[:20]).sum()
strange = np.isin(np.arange(clean + 8, len(values)), a.frame["off_topic_score"].sort_values().index[:5]).sum()
print(f"planted copies flagged: {pairs} of {len(copied)}")
print(f"planted wrong labels among the 20 worst: {errors} of {len(wrong)}")
print(f"planted outliers among the 5 worst: {strange} of {len(outliers)}")
assert (pairs, strange) == (8, 5), "copies and outliers are all found"
assert errors >= 6, "most planted wrong labels are among the worst"
