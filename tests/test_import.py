"""What `import selfclean_hooks` costs: checked in fresh interpreters, since this one has imported it all."""

import subprocess
import sys

import selfclean_hooks

HEAVY = ("lightning", "pytorch_lightning", "timm", "torch", "torchvision")


def imported_by(code: str) -> set[str]:
    """Which of the heavy packages an interpreter has imported after running `code`."""
    report = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light() -> None:
    assert imported_by("import selfclean_hooks") == set()


def test_the_test_above_can_fail() -> None:
    assert imported_by("import selfclean_hooks, torch") == {"torch"}


def test_vectors_are_audited_without_lightning_timm_and_torchvision() -> None:
    code = "import numpy, selfclean_hooks\nselfclean_hooks.audit_embeddings(numpy.eye(4)).clean_indices"
    assert imported_by(code) == {"torch"}


def test_public_names_are_sorted_and_there() -> None:
    names = selfclean_hooks.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))  # as linters sort: capitals first
    assert all(hasattr(selfclean_hooks, name) for name in names)
