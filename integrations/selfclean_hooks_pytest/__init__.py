"""`assert_clean`: a pytest test that fails where data is contaminated.

The plugin is loaded by every run of pytest where the package is installed, so what is heavy waits until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfclean_hooks_pytest.assertion import assert_clean

__all__ = ["assert_clean"]


def __getattr__(name: str) -> Any:
    if name == "assert_clean":
        from selfclean_hooks_pytest.assertion import assert_clean

        return assert_clean
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
