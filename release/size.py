"""What `pip install selfclean-hooks` brings, package by package as installed here; more than the budget fails."""

import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES, MEGABYTES = 65, 450  # at most; a dependency that needs more must be worth it, or be an extra
BUILD_OF_TORCH = ("torch", "triton", "nvidia-", "cuda-")  # counted apart: 0.7 to 5 GB, as the build is chosen


def dependencies(name: str = "selfclean-hooks") -> dict[str, Distribution]:
    """The package and all that it needs without extras, by name, as far as installed."""
    found: dict[str, Distribution] = {}
    todo = [(name, frozenset[str]())]
    seen = set(todo)
    while todo:
        one, extras = todo.pop()
        try:
            found[one] = distribution(one)
        except PackageNotFoundError:  # of another platform
            continue
        for text in found[one].requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                more = (canonicalize_name(needed.name), frozenset(needed.extras))
                todo += [more] if more not in seen else []
                seen.add(more)
    return found


def megabytes(one: Distribution) -> float:
    """What a distribution takes on disk, by its own record."""
    return sum(file.size or 0 for file in one.files or ()) / 1e6


def is_build_of_torch(name: str) -> bool:
    """Whether a package comes with one build of torch and not with another."""
    return name == BUILD_OF_TORCH[0] or name.startswith(BUILD_OF_TORCH[1:])


def main() -> int:
    """The exit status: 1 beyond the budget."""
    sizes = {name: megabytes(one) for name, one in dependencies().items()}
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        print(f"{sizes[name]:8.1f} MB  {name}{'  (a build of torch)' if is_build_of_torch(name) else ''}")
    counted = {name: size for name, size in sizes.items() if not is_build_of_torch(name)}
    total, torch = sum(counted.values()), sum(sizes.values()) - sum(counted.values())
    print(f"{len(counted)} packages of {PACKAGES}, {total:.0f} MB of {MEGABYTES}, besides torch's {torch:.0f} MB")
    return len(counted) > PACKAGES or total > MEGABYTES


if __name__ == "__main__":
    sys.exit(main())
