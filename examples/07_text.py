"""Audit texts: a function from a list of strings to vectors is all it takes. Here TF-IDF on Python's own docstrings."""

import ast
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from selfclean_hooks import audit

MODULES = ("tkinter", "turtle", "logging.handlers", "inspect", "email.message", "imaplib", "threading", "difflib")
OFF_TOPIC = (
    "Whisk the egg whites until stiff, fold them gently into the melted chocolate, and chill for three hours.",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore.",
    "Je suis allé au marché hier matin avec ma grand-mère pour acheter des légumes frais et du fromage de chèvre.",
    "Die Fähre verlässt den Hafen im Morgengrauen, und wer mitfährt, sollte auch im Sommer einen Mantel tragen.",
    "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24sIGJ1dCBieSB0aGlzIHNpbmd1bGFyIHBhc3Npb24=",
    "3.1415926535 8979323846 2643383279 5028841971 6939937510 5820974944 5923078164 0628620899 8628034825",
    "&lt;div class=&quot;nav&quot;&gt;&lt;a href=&quot;#&quot;&gt;Accept all cookies&lt;/a&gt;&lt;/div&gt;",
)


def docstrings(module: str) -> list[str]:
    """Of all functions and classes in the source of a module, from 80 characters; none where it is not installed."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return []
    tree = ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    texts = [ast.get_docstring(node) or "" for node in tree if isinstance(node, kinds)]
    return sorted({text for text in texts if len(text) >= 80})


items = [{"text": text, "label": module} for module in MODULES for text in docstrings(module)]
clean, rng = len(items), np.random.default_rng(0)

# planted: 25 texts get another module's label, 20 come again a little changed, and 7 are about something else
wrong, copied = rng.choice(clean, 25, replace=False), rng.choice(clean, 20, replace=False)
classes = sorted({item["label"] for item in items})
for i in wrong:
    items[i]["label"] = classes[(classes.index(items[i]["label"]) + 1) % len(classes)]
items += [{"text": "Note: " + items[i]["text"].replace(".", " .", 1), "label": items[i]["label"]} for i in copied]
off_topic = np.arange(len(items), len(items) + len(OFF_TOPIC))
items += [{"text": text, "label": classes[i % len(classes)]} for i, text in enumerate(OFF_TOPIC)]

tf_idf = make_pipeline(TfidfVectorizer(sublinear_tf=True), TruncatedSVD(30, random_state=0))
tf_idf.fit([item["text"] for item in items])


def embed(texts: Sequence[str]) -> NDArray[np.float64]:
    """(B, 30) of B texts; a sentence encoder would do as well."""
    vectors: NDArray[np.float64] = tf_idf.transform(texts)
    return vectors


a = audit(items, embed, progress=False)
print(f"{clean} docstrings of {len(classes)} modules, {len(items) - clean} texts added\n{a.summary.to_string()}\n")
for i in a.frame["label_score"].sort_values().index[:3]:
    row = a.frame.loc[i]
    print(f"{row['given_label']}, or rather {row['predicted_label']}? {items[i]['text'][:70]!r}")

flagged = a.pairs.loc[a.pairs["is_near_duplicate_issue"], ["index_1", "index_2"]].to_numpy().tolist()
copies = sum([int(i), clean + place] in flagged for place, i in enumerate(copied))
labels = np.isin(wrong, a.frame["label_score"].sort_values().index[:50]).sum()
strange = np.isin(off_topic, a.frame["off_topic_score"].sort_values().index[:14]).sum()
print(f"\nplanted copies flagged: {copies} of {len(copied)}; the other flagged pairs are the library repeating itself")
print(f"planted wrong labels among the 50 worst: {labels} of {len(wrong)}")
print(f"planted off-topic texts among the 14 worst: {strange} of {len(off_topic)}")
assert copies >= 15, "most planted copies are found"
assert labels >= 12, "half of the planted wrong labels are among the worst"
