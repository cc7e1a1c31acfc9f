"""The data set without what the audit found: a drop-in replacement for training."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset
from typing_extensions import Unpack

from selfclean_hooks.audits.audit_dataset import audit as run_audit
from selfclean_hooks.audits.settings import AuditOptions, audit_settings
from selfclean_hooks.data.dataset_tree import check_map_style
from selfclean_hooks.data.views.kept_samples import InnerAttributes, NewLabels
from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.results.corrections import Corrections

if TYPE_CHECKING:
    from selfclean_hooks.audits.audit import Audit
    from selfclean_hooks.decisions.settings import Policy, Thresholds


class AuditArguments(AuditOptions, total=False):
    """Keyword arguments for a new audit."""

    backbone: Any
    method: str


TRANSFORMS = ("transform", "target_transform", "transforms")


class AuditedDataset(InnerAttributes, Dataset[Any]):
    """The samples of a data set that the policy keeps, as the user's own items with the user's own augmentation.

    With the policy `label_errors="relabel"` items come with their new labels (`audit.new_labels`).
    A data set that cannot be audited is an error here, whatever the policy: it must not pass for an audited one.

    Other attributes are those of the inner data set. `targets`, `labels`, `samples`, `imgs`, `paths` and `data` hold
    the kept samples only, and setting `transform`, `target_transform` or `transforms` sets it on the inner data set.

    Args:
        dataset: Map-style.
        policy: What a flag does; None: the audit's own, `Policy()` for a new audit.
        thresholds: Where a score becomes a flag; None: the audit's own, `Thresholds()` for a new audit.
        audit: An audit of this data set, to use instead of running one.
        **audit_arguments: For `audit()`, such as `backbone=` or `device=`.

    Attributes:
        dataset: The data set given.
        audit: The `Audit` with this policy and these thresholds.
        indices: (K,) int64, ascending: the position in `dataset` of each sample here.

    Raises:
        DataError: `dataset` is not map-style, or `audit` is of a data set of another length.
        SettingError: Both `audit` and arguments for a new one.
        ContaminationError: The policy says "raise" and samples were flagged.
        PolicyError: The policy would drop more than its `max_drop_fraction`.
    """

    audit: Audit
    indices: NDArray[np.int64]
    OWN = InnerAttributes.OWN | {"audit"}
    CALLED = "audited"

    def __init__(
        self,
        dataset: Any,
        policy: Policy | None = None,
        thresholds: Thresholds | None = None,
        audit: Audit | None = None,
        **audit_arguments: Unpack[AuditArguments],
    ) -> None:
        """See the class."""
        check_map_style(dataset)
        if audit is None:
            audit = run_audit(dataset, policy=policy, thresholds=thresholds, **audit_arguments)
        else:
            audit = _reused(dataset, audit, policy, thresholds, audit_arguments)
        self.dataset, self.audit = dataset, audit
        self.indices = np.asarray(audit.clean_indices, dtype=np.int64)
        reading = audit_settings("default", None, None, audit_arguments).embedding
        self.new_labels = NewLabels.read(dataset, Corrections.of(audit).relabelled, reading)
        audit.enforce()

    def __len__(self) -> int:
        """How many samples are kept."""
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        """The item of the inner data set at `indices[index]`; a negative index counts from the end."""
        position = self._inner(index)
        return self.new_labels.serve(position, self.dataset[position])

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """A batch at once, for inner data sets that can do this: the DataLoader asks for it."""
        together = getattr(self.dataset, "__getitems__", None)
        if together is None:
            return [self[index] for index in indices]
        positions = [self._inner(index) for index in indices]
        return self.new_labels.serve_all(positions, together(positions))

    def _inner(self, index: int) -> int:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"index {position} is outside the {len(self)} samples that were kept")
        return int(self.indices[position])

    def __setattr__(self, name: str, value: Any) -> None:
        """Transforms are set on the inner data set, where they are applied."""
        if name in TRANSFORMS:
            setattr(self.dataset, name, value)
        else:
            super().__setattr__(name, value)


def _reused(
    dataset: Any, audit: Audit, policy: Policy | None, thresholds: Thresholds | None, unused: AuditArguments
) -> Audit:
    if unused:
        raise SettingError(f"{', '.join(unused)} would go to a new audit, but audit= gives one: leave out either")
    if audit.n != len(dataset):
        raise DataError(
            f"the audit must be of this data set, which has {len(dataset)} samples; it is of {audit.n}: "
            "audit this one, or pass the data set that was audited"
        )
    return audit.at(thresholds=thresholds, policy=policy) if thresholds or policy else audit
