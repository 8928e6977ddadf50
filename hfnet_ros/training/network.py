"""HF-Net: one encoder, two local heads at stride 8 and a NetVLAD global head.

Reference: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large
Scale", CVPR 2019, section 4; Arandjelovic et al., "NetVLAD", CVPR 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hfnet_ros.errors import ConfigError
from hfnet_ros.training.encoders import Features, LightEncoder, MobileNetEncoder, convolution
from hfnet_ros.training.options import CELL, NO_KEYPOINT, NetworkOptions

SIZE_MULTIPLE = 32  # every encoder halves five times


class DenseOutputs(NamedTuple):
    """What the network says about B images of H x W px.

    Attributes:
        logits: [B, 65, H/8, W/8]; class 8 r + c is a keypoint in row r, column c of the cell, 64 none.
        local: [B, D, H/8, W/8], unit norm.
        descriptor: [B, G], unit norm: the global descriptor.
    """

    logits: Tensor
    local: Tensor
    descriptor: Tensor


@dataclass(frozen=True)
class Aggregation:
    """How a NetVLAD weighs cells and clusters.

    Attributes:
        attention_power: a cell counts by this power of its attention.
        cluster_saturation: a cluster counts by m / (m + this), m being the sum of its weights.
        vocabularies: into which the clusters fall, in their order; a cell is assigned in each of them.
    """

    attention_power: float = 1.0
    cluster_saturation: float = 0.0
    vocabularies: int = 1


AS_PUBLISHED = Aggregation()


class NetVlad(nn.Module):
    """Soft VLAD of a feature map and a linear layer; residual = cluster - feature as published."""

    def __init__(self, channels: int, clusters: int, size: int) -> None:
        """Start with random unit clusters."""
        super().__init__()
        self.assignment = nn.Conv2d(channels, clusters, 1)
        self.clusters = nn.Parameter(functional.normalize(torch.randn(clusters, channels), dim=1))
        self.projection = nn.Linear(clusters * channels, size)

    def forward(
        self, features: Tensor, attention: Tensor | None = None, aggregation: Aggregation = AS_PUBLISHED
    ) -> Tensor:
        """Aggregate unit features [B, C, h, w], weighted by attention [B, 1, h, w], to [B, size]."""
        projected: Tensor = self.projection(self.vlad(features, attention, aggregation))
        return projected

    def vlad(
        self, features: Tensor, attention: Tensor | None = None, aggregation: Aggregation = AS_PUBLISHED
    ) -> Tensor:
        """Return what is projected: [B, clusters * C], unit norm."""
        scores = self.assignment(features).flatten(2)
        parts = scores.chunk(aggregation.vocabularies, dim=1)
        weights = torch.cat([torch.softmax(part, dim=1) for part in parts], dim=1)
        if attention is not None:
            power = aggregation.attention_power
            weights = weights * (attention if power == 1.0 else attention**power).flatten(2)
        summed = torch.matmul(weights, features.flatten(2).transpose(1, 2))
        mass = weights.sum(dim=2, keepdim=True)
        residuals = functional.normalize(mass * self.clusters - summed, dim=2)
        if aggregation.cluster_saturation > 0.0:
            residuals = residuals * (mass / (mass + aggregation.cluster_saturation))
        return functional.normalize(residuals.flatten(1), dim=1)


class HFNet(nn.Module):
    """The student.

    The global descriptor is the sum of the published head's, which aggregates a deep map, and, with
    `local_clusters`, of one that aggregates the local descriptors where the detector sees keypoints.
    """

    def __init__(self, options: NetworkOptions) -> None:
        """Make the layers with random weights."""
        super().__init__()
        self.normalization = options.normalization
        self.encoder: nn.Module
        if options.encoder == "mobilenet_v2":
            self.encoder = MobileNetEncoder(options.width)
        else:
            self.encoder = LightEncoder(options.width)
        channels = self.encoder.channels
        head, size = options.head_channels, options.descriptor_size
        self.detector = nn.Sequential(
            convolution(channels.detector, head), nn.Conv2d(head, NO_KEYPOINT + 1, 1)
        )
        self.describer = nn.Sequential(convolution(channels.local, head), nn.Conv2d(head, size, 1))
        if not options.clusters and not options.local_clusters:
            raise ConfigError(
                "network.clusters and network.local_clusters are both 0, the global head needs one"
            )
        self.reduce: nn.Module | None = None
        self.aggregate: NetVlad | None = None
        if options.clusters:
            clustered = options.cluster_channels or channels.semantic
            kept = nn.Identity() if not options.cluster_channels else None
            self.reduce = kept or convolution(channels.semantic, clustered, kernel=1)
            self.aggregate = NetVlad(clustered, options.clusters, options.global_size)
        self.aggregate_local = (
            NetVlad(size, options.local_clusters, options.global_size) if options.local_clusters else None
        )
        # Slope and offset of the attention; (1, 0) is the probability that a cell has a keypoint.
        self.aggregate_local_attention = nn.Parameter(torch.tensor([1.0, 0.0]))
        # Not part of the state: a checkpoint is one of training, where it is always this.
        self.local_aggregation = AS_PUBLISHED

    def normalize(self, image: Tensor) -> Tensor:
        """Bring gray levels 0 to 255 to about unit size; always float32."""
        image = image.float()
        if self.normalization == "fixed":
            return (image - 128.0) / 128.0
        centered = image - image.mean(dim=(2, 3), keepdim=True)
        # Written out: fused instance normalisation is a trap in half precision.
        deviation = torch.sqrt((centered * centered).mean(dim=(2, 3), keepdim=True) + 1.0)
        return centered / deviation

    def forward(self, image: Tensor) -> DenseOutputs:
        """Look at gray images [B, 1, H, W], 0 to 255, H and W multiples of 32."""
        semantic, logits, local = self.look(image)
        descriptor = self.describe(semantic, local, logits)
        return DenseOutputs(logits, local, functional.normalize(descriptor, dim=1))

    def look(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the global heads read: the deep map, and logits and local descriptors as in `DenseOutputs`."""
        features: Features = self.encoder(self.normalize(image))
        logits = self.detector(features.detector)
        return features.semantic, logits, functional.normalize(self.describer(features.local), dim=1)

    def describe(self, semantic: Tensor, local: Tensor, logits: Tensor) -> Tensor:
        """Return the sum [B, G] of the global heads, not normalised."""
        parts = []
        if self.aggregate is not None and self.reduce is not None:
            parts.append(self.aggregate(functional.normalize(self.reduce(semantic), dim=1)))
        if self.aggregate_local is not None:
            # The head reads the local features; they are not bent for its sake.
            attention = keypoint_attention(logits.detach(), self.aggregate_local_attention)
            parts.append(self.aggregate_local(local.detach(), attention, self.local_aggregation))
        total: Tensor = sum(parts[1:], parts[0])
        return total


def keypoint_attention(logits: Tensor, slope_offset: Tensor) -> Tensor:
    """Return the probability that each cell [B, 1, h, w] has a keypoint, with slope and offset on its log odds."""
    logits = logits.float()
    odds = torch.logsumexp(logits[:, :NO_KEYPOINT], dim=1, keepdim=True) - logits[:, NO_KEYPOINT:]
    return torch.sigmoid(slope_offset[0] * odds + slope_offset[1])


class ExportedHFNet(nn.Module):
    """The same network with the outputs of the engine contract (see `features.hfnet`).

    The image at half its size is as large as the training views, and noise averages out in it; it
    costs a quarter of a pass.
    """

    def __init__(self, network: HFNet, *, global_scales: str) -> None:
        """Wrap a trained network; see `NetworkOptions.global_scales`."""
        super().__init__()
        self.network = network
        self.global_scales = global_scales

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores [B, 1, H, W], local descriptors [B, D, H/8, W/8], global descriptor [B, G]."""
        outputs = self.network(image)
        descriptor = outputs.descriptor
        if self.global_scales != "whole":
            halved = self.network(halve_image(image)).descriptor
            both = functional.normalize(descriptor + halved, dim=1)
            descriptor = both if self.global_scales == "both" else halved
        probability = torch.softmax(outputs.logits.float(), dim=1)[:, :NO_KEYPOINT]
        return functional.pixel_shuffle(probability, CELL), outputs.local.float(), descriptor.float()


def halve_image(image: Tensor) -> Tensor:
    """Halve [B, 1, H, W] and stretch it to the next multiples of 32."""
    half = functional.avg_pool2d(image, 2)
    height, width = half.shape[2], half.shape[3]
    rounded = [(length + SIZE_MULTIPLE - 1) // SIZE_MULTIPLE * SIZE_MULTIPLE for length in (height, width)]
    return functional.interpolate(half, size=rounded, mode="bilinear", align_corners=False)
