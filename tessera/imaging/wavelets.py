"""Less noise by wavelets: small coefficients, mostly noise, are shrunk; large ones, which are edges, stay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pywt

from tessera.domain.errors import InvalidInputError
from tessera.imaging.filters import rescale, to_levels
from tessera.imaging.pixels import Picture, require_picture, require_within

MIN_SIDE_PX = 14
"""Below it this wavelet does not fit once."""

_WAVELET = "sym4"
_MEDIAN_OF_NORMAL = 0.6745
"""Of |x| for a normal x of deviation 1."""

_Band = npt.NDArray[np.float64]


def wavelet_shrinkage(picture: Picture, levels: int = 3) -> Picture:
    """Estimate the noise of each channel, and shrink each band of its wavelet transform by its own soft threshold.

    Args:
        picture: any, of 14 pixels or more to a side.
        levels: how often it is halved, 1 to 8; fewer where the picture is too small.

    Returns:
        Of the same shape and type. A picture without noise comes back all but unchanged.

    Raises:
        InvalidInputError: it is no picture or too small, or `levels` is out of range.

    Source: Chang, Yu and Vetterli, "Adaptive wavelet thresholding for image denoising and compression", IEEE Trans.
    Image Processing 9 (2000), equations 5, 8 and 9 (BayesShrink); noise from the finest diagonal band after Donoho and
    Johnstone (1994). The wavelet is Daubechies' least asymmetric of four vanishing moments.
    """
    require_picture(picture)
    require_within("levels", levels, 1, 8)
    height_px, width_px = picture.shape[:2]
    if min(height_px, width_px) < MIN_SIDE_PX:
        raise InvalidInputError("picture", f"shape {picture.shape}", f"{MIN_SIDE_PX} pixels or more to a side")
    deepest = min(levels, pywt.dwtn_max_level((height_px, width_px), _WAVELET))
    channels = rescale(picture).reshape(height_px, width_px, -1).astype(np.float64)
    shrunk = np.stack([_shrunk(channels[:, :, one], deepest) for one in range(channels.shape[2])], axis=2)
    result = np.clip(shrunk, 0.0, 1.0).reshape(picture.shape).astype(np.float32)
    return (result if picture.dtype == np.float32 else to_levels(result)).astype(picture.dtype, copy=False)


def _shrunk(channel: _Band, levels: int) -> _Band:
    coarse, *details = pywt.wavedec2(channel, _WAVELET, mode="symmetric", level=levels)
    noise = float(np.median(np.abs(details[-1][2]))) / _MEDIAN_OF_NORMAL
    kept = [tuple(_soft(band, noise) for band in level) for level in details]
    whole: _Band = pywt.waverec2([coarse, *kept], _WAVELET, mode="symmetric")
    return whole[: channel.shape[0], : channel.shape[1]]  # an odd side grows by one on the way


def _soft(band: _Band, noise: float) -> _Band:
    signal = float(np.sqrt(max(0.0, float((band**2).mean()) - noise**2)))
    threshold = noise**2 / signal if signal > 0.0 else np.inf
    shrunk: _Band = np.sign(band) * np.maximum(np.abs(band) - threshold, 0.0)
    return shrunk if noise > 0.0 else band
