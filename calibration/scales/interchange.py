"""Scales in files: this project's JSON, and the calibration cache of TensorRT up to 10, which DLA needs.

The cache is a text file, as TensorRT's sample ``sampleINT8`` documents it ("Calibration file"):

    TRT-8502-EntropyCalibration2
    image: 3c008912
    conv1_out: 3c88edfc

The first line names the version and the calibrator. Each further line has a tensor and its scale, which is its largest
magnitude / 127, as the eight hexadecimal digits of a float32, highest byte first.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ssd_edge.errors import CalibrationError
from ssd_edge.files import written_whole
from ssd_edge.parsing import parse_json, shown

CALIBRATOR = "EntropyCalibration2"
"""Name of the calibrator in a written cache: ``IInt8EntropyCalibrator2``, which trtexec uses and DLA requires. TensorRT
compares the name with the calibrator that reads the cache, but cannot tell how the scales were computed."""

# The limits of a scale: a GPU would flush a denormal one to 0.
_LEAST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)

_HEADER = re.compile(r"TRT-\w+-\w+")
_LINE = re.compile(r"(.+): ([0-9a-fA-F]{1,8})")


def read_scales(path: Path) -> dict[str, float]:
    """Read scales by tensor name from a JSON file or a calibration cache.

    A cache gives the scale 0 to tensors that TensorRT does not quantise; these are left out.

    Raises:
        CalibrationError: the file does not exist or has neither format, or a scale is not above 0 and finite.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CalibrationError(f"{path} is neither scales as JSON nor a calibration cache of TensorRT") from None
    scales = _from_cache(text, path) if text.startswith("TRT-") else _from_json(text, path)
    for name, scale in scales.items():
        if not _LEAST <= scale <= _LARGEST:
            raise CalibrationError(f"{path}: the scale of {shown(name)} must be above 0 and finite, but is {scale}")
    if not scales:
        raise CalibrationError(f"{path} holds no scales")
    return scales


def write_scales(path: Path, scales: Mapping[str, float]) -> None:
    """Write scales as JSON, {tensor name: scale}, in the network's order; the numbers read back exactly.

    Raises:
        CalibrationError: the file cannot be written.
    """
    _write(path, json.dumps(dict(scales), indent=2) + "\n")


def cache_header(tensorrt: str) -> str:
    """Return the first line of a cache for a version of TensorRT, such as 8.5.2 or 10.3.

    TensorRT refuses the cache of another version. The number is NV_TENSORRT_VERSION of its header file: from 10 on, it
    has two digits each for the minor version and patch.

    >>> cache_header("8.6.1"), cache_header("10.3")
    ('TRT-8601-EntropyCalibration2', 'TRT-100300-EntropyCalibration2')

    Raises:
        CalibrationError: this version has no calibration caches.
    """
    match = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?(?:\.\d+)*", tensorrt)
    if match is None or not 7 <= int(match[1]) <= 10:
        raise CalibrationError(
            f"calibration caches are for TensorRT 7 to 10, given as 8.5.2 or 10.3.0, but got {tensorrt!r}: "
            "later ones read Q/DQ only"
        )
    major, minor, patch = int(match[1]), int(match[2]), int(match[3] or 0)
    number = major * 10000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch
    return f"TRT-{number}-{CALIBRATOR}"


def write_cache(path: Path, scales: Mapping[str, float], header: str) -> None:
    """Write a calibration cache.

    Args:
        path: the file to write.
        scales: scales of all activations; TensorRT does not quantise a tensor that is missing.
        header: the first line, see ``cache_header``.

    Raises:
        CalibrationError: a tensor's name cannot be written in a cache, or the file cannot be written.
    """
    lines = [header]
    for name, scale in scales.items():
        if "\n" in name or "\r" in name:
            raise CalibrationError(f"a tensor of name {name!r} cannot stand in a calibration cache")
        lines.append(f"{name}: {struct.pack('>f', scale).hex()}")
    _write(path, "\n".join(lines) + "\n")


def _from_cache(text: str, path: Path) -> dict[str, float]:
    header, *lines = text.splitlines()
    if _HEADER.fullmatch(header.strip()) is None:
        raise CalibrationError(f"{path} begins with {header[:40]!r}, which is no calibration cache of TensorRT")
    scales = {}
    for number, line in enumerate(lines, start=2):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            if line.strip():
                raise CalibrationError(
                    f"{path}, line {number}: must be a tensor, a colon and a hexadecimal number, but is {line[:60]!r}"
                )
            continue
        (scale,) = struct.unpack(">f", bytes.fromhex(match[2].zfill(8)))
        if scale != 0:
            scales[match[1]] = scale
    return scales


def _from_json(text: str, path: Path) -> dict[str, float]:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise CalibrationError(f"{path} is neither a calibration cache of TensorRT nor valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise CalibrationError(f"{path} must hold an object of scales by tensor, but holds {type(content).__name__}")
    for name, scale in content.items():
        if isinstance(scale, bool) or not isinstance(scale, int | float):
            raise CalibrationError(f"{path}: the scale of {shown(name)} must be a number, but is {shown(scale)}")
    try:
        return {name: float(scale) for name, scale in content.items()}
    except OverflowError:
        raise CalibrationError(f"{path} holds a number that is no scale") from None


def _write(path: Path, text: str) -> None:
    try:
        with written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"cannot write {path}: {error.strerror}") from None
