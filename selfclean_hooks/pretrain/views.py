"""Random views of pictures, a batch at a time on the device: pictures one by one would take most of the time."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it

CROP = 0.7  # smallest share of the area that a view shows


def view(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each picture in its own random crop, tilt, mirroring, contrast, brightness, tint and noise.

    Mild on purpose: what a view hides, the features forget, and near duplicates and off-topic samples are told by it.

    Args:
        x: (B, C, S, S) in [0, 1].
        generator: of the draws, on the CPU: the same on every device.

    Returns:
        (B, C, S, S), a little outside of [0, 1] too.
    """

    def draw(low: float, high: float, *shape: int) -> torch.Tensor:
        return (torch.rand(len(x), *shape, generator=generator) * (high - low) + low).to(x.device)

    zoom, tilt, stretch = draw(CROP, 1).sqrt(), draw(-0.1, 0.1), draw(-0.08, 0.08).exp()
    mirror = (1 - 2 * torch.randint(2, (len(x),), generator=generator)).to(x.device)
    across = torch.stack([zoom * stretch * tilt.cos() * mirror, -zoom * tilt.sin(), draw(-1, 1) * (1 - zoom)], 1)
    down = torch.stack([zoom * tilt.sin() * mirror, zoom / stretch * tilt.cos(), draw(-1, 1) * (1 - zoom)], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), list(x.shape), align_corners=False)
    seen = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    middle = seen.mean((1, 2, 3), keepdim=True)
    seen = (middle + (seen - middle) * draw(0.84, 1.16, 1, 1, 1)) * draw(0.88, 1.12, 1, 1, 1)
    if x.shape[1] > 1:
        seen = seen * draw(0.92, 1.08, x.shape[1], 1, 1)
    return seen + torch.randn(seen.shape, generator=generator).to(x.device) * draw(0, 0.02, 1, 1, 1)
