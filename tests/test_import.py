"""What imports bring along, in one interpreter that goes from the lightest use to the heaviest."""

import json
import subprocess
import sys

import pytest

import selfclean_hooks

HEAVY = {"datasets", "lightly", "lightning", "pandas", "pytorch_lightning", "timm", "torch", "torchvision"}
STAGES = """
import json, socket, sys, tempfile

def imported():
    return {name.partition(".")[0] for name in sys.modules}

seen, start = {}, imported()

def note(stage, before=start):
    seen[stage] = sorted(imported() - before)

def refuse(*arguments, **named):
    raise SystemExit("the network was used")

import selfclean_hooks, selfclean_hooks_pytest.plugin
note("package")
import numpy
selfclean_hooks.audit_embeddings(numpy.eye(4)).save(tempfile.mkdtemp() + "/audit")
note("vectors")
from PIL import Image
from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.run import pretrain
note("recipe")
import lightning
before = imported()
import selfclean_hooks_lightning
note("callback", before)
import pandas
note("pandas", before)
socket.socket.connect = socket.getaddrinfo = refuse
pretrain([Image.new("L", (9, 9), i) for i in range(4)], Recipe(epochs=1))
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def ran() -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", STAGES], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def imported(ran: subprocess.CompletedProcess[str]) -> dict[str, set[str]]:
    """Stage: the packages that were imported by then."""
    return {stage: set(names) for stage, names in json.loads(ran.stdout).items()}


def test_import_is_light(imported: dict[str, set[str]]) -> None:
    assert not HEAVY & imported["package"]


@pytest.mark.parametrize("stage", ["vectors", "recipe"])
def test_vectors_are_audited_and_saved_with_torch_alone(imported: dict[str, set[str]], stage: str) -> None:
    assert imported[stage] & HEAVY == {"torch"}


def test_the_callback_adds_nothing_heavy_to_lightning(imported: dict[str, set[str]]) -> None:
    """What Lightning itself imports (torchvision, if it is there) does not count."""
    heavy = {
        "pandas",
        "timm",
        "lightly",
        "torchvision",
        "datasets",
        "pytorch_lightning",
        "sklearn",
        "matplotlib",
        "jinja2",
    }
    assert not heavy & imported["callback"]
    assert heavy & imported["pandas"] == {"pandas"}, "the check can fail"


def test_training_needs_no_network_and_prints_nothing(ran: subprocess.CompletedProcess[str]) -> None:
    assert (ran.returncode, len(ran.stdout.splitlines())) == (0, 1), ran.stderr


def test_public_names_are_sorted_and_there() -> None:
    names = selfclean_hooks.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))  # as linters sort: capitals first
    assert all(hasattr(selfclean_hooks, name) for name in names)
