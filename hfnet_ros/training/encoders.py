"""Encoders: from a gray image to the maps that the heads start from.

Reference: Sandler et al., "MobileNetV2", CVPR 2018; the pyramid of `LightEncoder` follows the
idea of XFeat (Potje et al., CVPR 2024, section 3.2): few channels where the image is large.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, cat, nn
from torch.nn import functional


class Features(NamedTuple):
    """Maps for the detector and the descriptors (stride 8) and for the global head (stride 16 or 32)."""

    detector: Tensor
    local: Tensor
    semantic: Tensor


class Channels(NamedTuple):
    """Channels of the maps of `Features`."""

    detector: int
    local: int
    semantic: int


def convolution(channels_in: int, channels_out: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Return convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input is added."""

    def __init__(self, channels: int) -> None:
        """Keep size and channels."""
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return a map of the same shape."""
        return functional.relu(features + self.norm(self.second(self.first(features))))


class LightEncoder(nn.Module):
    """Plain convolutions, few channels at high resolution, a pyramid fused at stride 8.

    The detector also sees the map of stride 4, its 2x2 neighbours side by side: where in a cell a
    corner lies is lost at stride 8.
    """

    def __init__(self, width: float) -> None:
        """Make the layers for a channel multiplier."""
        super().__init__()
        c2, c4, c8, c16, c32 = (_rounded(width * count) for count in (16, 32, 64, 96, 128))
        self.stem = nn.Sequential(convolution(1, c2, stride=2), convolution(c2, c4, stride=2), Residual(c4))
        self.stage8 = nn.Sequential(convolution(c4, c8, stride=2), Residual(c8), Residual(c8))
        self.stage16 = nn.Sequential(convolution(c8, c16, stride=2), Residual(c16))
        self.stage32 = nn.Sequential(convolution(c16, c32, stride=2), Residual(c32))
        self.from16 = nn.Conv2d(c16, c8, 1)
        self.from32 = nn.Conv2d(c32, c8, 1)
        self.lift32 = nn.Conv2d(c32, c16, 1)
        self.fuse = convolution(c8, c8)
        self.fine = convolution(4 * c4, c8, kernel=1)
        self.channels = Channels(2 * c8, c8, c16)

    def forward(self, image: Tensor) -> Features:
        """Encode [B, 1, H, W]."""
        at4 = self.stem(image)
        at8 = self.stage8(at4)
        at16 = self.stage16(at8)
        at32 = self.stage32(at16)
        fused = self.fuse(at8 + _enlarged(self.from16(at16), 2) + _enlarged(self.from32(at32), 4))
        fine = self.fine(functional.pixel_unshuffle(at4, 2))
        return Features(cat([fused, fine], dim=1), fused, at16 + _enlarged(self.lift32(at32), 2))


class MobileNetEncoder(nn.Module):
    """MobileNetV2; local heads branch at stride 8 (layer 7), the global head at the last map (layer 18)."""

    _STAGES = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    _LOCAL_STAGES = 3

    def __init__(self, width: float) -> None:
        """Make the layers for a depth multiplier."""
        super().__init__()
        channels = _rounded(32 * width)
        stages: list[nn.Module] = []
        self.stem = convolution(1, channels, stride=2)
        local = semantic = 0
        for index, (expansion, size, repeats, stride) in enumerate(self._STAGES):
            blocks: list[nn.Module] = []
            for repeat in range(repeats):
                blocks.append(
                    InvertedResidual(
                        channels, _rounded(size * width), stride if repeat == 0 else 1, expansion
                    )
                )
                channels = _rounded(size * width)
            stages.append(nn.Sequential(*blocks))
            if index + 1 == self._LOCAL_STAGES:
                local = channels
            semantic = channels
        self.to8 = nn.Sequential(*stages[: self._LOCAL_STAGES])
        self.to32 = nn.Sequential(*stages[self._LOCAL_STAGES :])
        self.channels = Channels(local, local, semantic)

    def forward(self, image: Tensor) -> Features:
        """Encode [B, 1, H, W]."""
        at8 = self.to8(self.stem(image))
        return Features(at8, at8, self.to32(at8))


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter depthwise, project by 1x1 without activation."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        """Add the input where shapes allow."""
        super().__init__()
        hidden = channels_in * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [
                nn.Conv2d(channels_in, hidden, 1, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(inplace=True),
            ]
        layers += [
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        ]
        self.layers = nn.Sequential(*layers)
        self.adds_input = stride == 1 and channels_in == channels_out

    def forward(self, features: Tensor) -> Tensor:
        """Return the filtered map."""
        filtered: Tensor = self.layers(features)
        return features + filtered if self.adds_input else filtered


def _rounded(channels: float) -> int:
    """Return the nearest multiple of 8, at least 8, never below nine tenths of the wish."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _enlarged(features: Tensor, factor: int) -> Tensor:
    return functional.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)
