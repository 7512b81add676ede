"""The two networks of registration: one finds corresponding points for a matrix, one predicts a velocity field.

Both are made of convolutions only, so they take images of any size, and single slices as well as volumes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

_MOST_CHANNELS = 6


class PointNetwork(nn.Module):
    """Finds the same ``points`` places in every image, as centres of mass of its feature maps.

    Corresponding points give a matrix in closed form (Hoffmann et al. 2024, 10.1162/imag_a_00197; Yu et al. 2022,
    KeyMorph), however far apart two images lie.
    """

    def __init__(self, channels: int, points: int = 48, features: Sequence[int] = (16, 32, 48, 48)):
        super().__init__()
        blocks, before = [], channels
        for number, after in enumerate(features):
            blocks.append(_normalised(before, after, 2 if number in (1, 2) else 1))
            before = after
        self.body = nn.Sequential(*blocks, nn.Conv3d(before, points, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """For fixed and moving image (B, C, I, J, K) the points of each: (B, 2, N, 3), see :meth:`points`."""
        return torch.stack([self.points(image) for image in images.chunk(2, 1)], 1)

    def points(self, image: torch.Tensor) -> torch.Tensor:
        """Of images (B, C, I, J, K): points (B, N, 3) in voxels."""
        logits = self.body(image)
        maps = torch.softmax(logits.flatten(2), 2).reshape(logits.shape)
        places = []
        for axis, length in enumerate(maps.shape[2:]):
            along = maps.sum([n + 2 for n in range(3) if n != axis])
            # The corners of both grids coincide.
            last = image.shape[axis + 2] - 1
            index = torch.linspace(0, last, length, device=maps.device)
            places.append((along * index).sum(2))
        return torch.stack(places, 2)

    @property
    def downsampling(self) -> int:
        """Grids of a multiple of this many steps have the same corners at all resolutions."""
        return 4


class StructureNetwork(nn.Module):
    """A U-Net that finds the structures of a single image, whatever its contrast, if it was trained on painted ones.

    Their centres give the matrix, and their maps are the input of the field's network, as in EasyReg (Iglesias 2023,
    10.1038/s41598-023-33781-0): neither then depends on contrast.
    """

    def __init__(self, channels: int, structures: int, features: Sequence[int] = (12, 24, 48, 64)):
        """``features``: at each resolution, the finest first; the result is interpolated from half the resolution."""
        super().__init__()
        down, before = [], channels
        for number, after in enumerate(features):
            down.append(_normalised(before, after, 2 if number else 1))
            before = after
        self.down = nn.ModuleList(down)
        self.bottom = _normalised(before, before, 1)
        up = []
        for after in reversed(features[1:-1]):
            up.append(_normalised(before + after, after, 1))
            before = after
        self.up = nn.ModuleList(up)
        self.scores = nn.Conv3d(before, structures + 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scores (B, 1 + structures, I, J, K) of images (B, C, I, J, K); the first is for everything else."""
        shape, skips = image.shape[2:], []
        for block in self.down:
            image = block(image)
            skips.append(image)
        features = self.bottom(skips.pop())
        for block in self.up:
            skip = skips.pop()
            features = F.interpolate(features, skip.shape[2:], mode="trilinear", align_corners=True)
            features = block(torch.cat([features, skip], 1))
        return F.interpolate(self.scores(features), shape, mode="trilinear", align_corners=True)

    def maps(self, image: torch.Tensor) -> torch.Tensor:
        """How likely each voxel belongs to each structure (S, I, J, K), for one image (C, I, J, K)."""
        return self(image[None])[0].softmax(0)[1:]


class FieldNetwork(nn.Module):
    """A U-Net that predicts a stationary velocity field from two images, at half their resolution.

    After VoxelMorph (Balakrishnan et al. 2019, 10.1109/TMI.2019.2897538; Dalca et al. 2019,
    10.1016/j.media.2019.07.006), with normalised feature maps.
    """

    def __init__(self, channels: int, features: Sequence[int] = (16, 32, 48, 64)):
        """``channels``: of both images together; ``features``: at each resolution, the finest first."""
        super().__init__()
        # Many maps of structures first become a few mixtures of them, the same ones for both images.
        most = _MOST_CHANNELS if channels > 2 * _MOST_CHANNELS else channels // 2
        self.mixture = nn.Conv3d(channels // 2, most, 1) if most < channels // 2 else nn.Identity()
        down, before = [], 2 * most
        for number, after in enumerate(features):
            down.append(_normalised(before, after, 2 if number else 1))
            before = after
        self.down = nn.ModuleList(down)
        self.bottom = _normalised(before, before, 1)
        up = []
        for after in reversed(features[1:-1]):
            up.append(_normalised(before + after, after, 1))
            before = after
        self.up = nn.ModuleList(up)
        self.last = _normalised(before, before, 1)
        self.velocity = nn.Conv3d(before, 3, 3, 1, 1)
        nn.init.normal_(self.velocity.weight, 0, 1e-3)  # training begins close to no deformation at all
        assert self.velocity.bias is not None
        nn.init.zeros_(self.velocity.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Velocity (B, 3, I/2, J/2, K/2), in voxels of that grid, for fixed and moving image (B, C, I, J, K)."""
        images = torch.cat([self.mixture(image) for image in images.chunk(2, 1)], 1)
        skips = []
        for block in self.down:
            images = block(images)
            skips.append(images)
        features = self.bottom(skips.pop())
        for block in self.up:
            skip = skips.pop()
            features = F.interpolate(features, skip.shape[2:], mode="trilinear", align_corners=True)
            features = block(torch.cat([features, skip], 1))
        return self.velocity(self.last(features))

    @property
    def downsampling(self) -> int:
        """Grids of a multiple of this many steps have the same corners at all resolutions."""
        return 2 ** (len(self.down) - 1)


def _normalised(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(before, after, 3, stride, 1), nn.InstanceNorm3d(after, affine=True), nn.LeakyReLU(0.1)
    )


def fitted_matrix(fixed: torch.Tensor, moving: torch.Tensor, kind: str = "affine", slack: float = 0.02) -> torch.Tensor:
    """The matrix (4, 4) that takes points ``fixed`` (N, 3) to ``moving`` (N, 3) with the least squared error.

    Args:
        kind: rigid, similarity or affine.
        slack: how strongly an affine matrix is pulled towards a similarity.
    """
    from_center, to_center = fixed.mean(0), moving.mean(0)
    a, b = fixed - from_center, moving - to_center
    cross, spread = b.T @ a / len(a), a.T @ a / len(a)
    u, s, vt = torch.linalg.svd(cross)
    sign = torch.ones(3, device=fixed.device)
    sign[2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))
    linear = u @ torch.diag(sign) @ vt
    if kind != "rigid":
        linear = linear * (s * sign).sum() / spread.trace()
    if kind == "affine":
        # The residual of the similarity. Points that are close together or coplanar determine it poorly: the slack then
        # keeps it small instead of extrapolating.
        kept = slack * spread.trace() * torch.eye(3, device=fixed.device)
        linear = linear + torch.linalg.solve(spread + kept, (cross - linear @ spread).T).T
    matrix = torch.eye(4, device=fixed.device)
    shift = to_center - linear @ from_center
    return torch.cat([torch.cat([linear, shift[:, None]], 1), matrix[3:]])
