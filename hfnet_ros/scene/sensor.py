"""What a real camera does to a perfect picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.types import ImageArray


@dataclass(frozen=True, slots=True)
class SensorModel:
    """Imperfections of a camera; exposure, colour and blur are drawn anew for every image.

    Attributes:
        noise_sigma: standard deviation of pixel noise at mid gray, gray levels; it grows with
            the square root of brightness, as shot noise does.
        exposure_gain_range: brightness factor, drawn log-uniformly.
        gamma_range: exponent of the tone curve, drawn uniformly; 1 is linear in the picture.
        vignetting: share of light missing in the image corners, 0 to 1.
        motion_blur_px: longest blur path; its length is drawn from [0, this], its direction freely.
        jpeg_quality: 1 to 100 compresses and decompresses; None leaves the pixels alone.

    Raises:
        ValueError: a range is empty, not positive, or a number is out of its bounds.
    """

    noise_sigma: float = 2.0
    exposure_gain_range: tuple[float, float] = (0.8, 1.25)
    gamma_range: tuple[float, float] = (0.9, 1.1)
    vignetting: float = 0.15
    motion_blur_px: float = 1.5
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no camera can be."""
        for name in ("exposure_gain_range", "gamma_range"):
            low, high = getattr(self, name)
            if not 0.0 < low <= high:
                raise ValueError(f"{name} is ({low:g}, {high:g}), expected 0 < low <= high")
        if self.noise_sigma < 0.0 or self.motion_blur_px < 0.0 or not 0.0 <= self.vignetting <= 1.0:
            raise ValueError(
                f"noise_sigma {self.noise_sigma:g} and motion_blur_px {self.motion_blur_px:g} must not be "
                f"negative, vignetting {self.vignetting:g} must be within 0 and 1"
            )
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality is {self.jpeg_quality}, expected 1 to 100 or None")

    @classmethod
    def perfect(cls) -> SensorModel:
        """Return the sensor that changes nothing."""
        return cls(0.0, (1.0, 1.0), (1.0, 1.0), 0.0, 0.0, None)

    def expose(self, image: ImageArray, rng: np.random.Generator) -> ImageArray:
        """Return the image [H, W, 3] BGR uint8 as this sensor would deliver it.

        Always draws the same amount of global randomness, so that two sensors with equal seeds
        differ only where their parameters do.
        """
        low, high = np.log(self.exposure_gain_range)
        gain, gamma = float(np.exp(rng.uniform(low, high))), float(rng.uniform(*self.gamma_range))
        length, angle = self.motion_blur_px * float(rng.random()), float(rng.uniform(0.0, np.pi))
        noise_seed = int(rng.integers(2**63))
        values = _motion_blur(image, length, angle).astype(np.float32)
        if self.vignetting > 0.0:
            values *= _vignette(image.shape[0], image.shape[1], self.vignetting)
        if gain != 1.0 or gamma != 1.0:
            values = 255.0 * np.clip(gain * values / 255.0, 0.0, 1.0) ** gamma
        if self.noise_sigma > 0.0:
            noise = np.random.default_rng(noise_seed).standard_normal(values.shape, dtype=np.float32)
            values += self.noise_sigma * np.sqrt(0.2 + 0.8 * values / 128.0) * noise
        exposed = np.clip(np.rint(values), 0.0, 255.0).astype(np.uint8)
        return exposed if self.jpeg_quality is None else _compress(exposed, self.jpeg_quality)


def _motion_blur(image: ImageArray, length_px: float, angle_rad: float) -> ImageArray:
    """Average the image along a straight path centred on each pixel."""
    if length_px < 0.3:
        return image
    reach = int(np.ceil(length_px / 2.0)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for along in np.linspace(-0.5, 0.5, 33) * length_px:
        x, y = reach + along * np.cos(angle_rad), reach + along * np.sin(angle_rad)
        left, top = int(x), int(y)
        for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            kernel[row, column] += max(0.0, 1.0 - abs(row - y)) * max(0.0, 1.0 - abs(column - x))
    return np.asarray(
        cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8
    )


def _vignette(height: int, width: int, strength: float) -> NDArray[np.float32]:
    y, x = np.mgrid[-1.0 : 1.0 : height * 1j, -1.0 : 1.0 : width * 1j]
    return np.asarray(1.0 - strength * (x * x + y * y) / 2.0, dtype=np.float32)[:, :, None]


def _compress(image: ImageArray, quality: int) -> ImageArray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
