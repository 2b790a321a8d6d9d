"""Tell pictures that a loss on the way has spoilt, and those that lean on them, from whole ones."""

from __future__ import annotations

from collections import deque
from math import inf

_IDR, _SLICES, _SPS, _PPS = 5, (1, 5), 7, 8  # kinds of H.264's units
_WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}  # profiles whose SPS tells the chroma
_DOUBTED = 5  # packets in a row whose parameter sets are doubted
_REMEMBERED = 64  # parameter sets
_GAP = 1.5  # intervals between two frames from which on one is missing


class Gate:
    """Lets whole pictures pass. After a damage it lets none pass up to the next whole key frame."""

    def __init__(self) -> None:
        self.shut = False
        self._last = -inf

    def passes(self, damaged: bool, key: bool, time: float | None) -> bool:
        """Tell whether a picture is whole.

        Args:
            damaged: whether it was decoded with errors, or one before it is missing.
            key: whether it needs no other picture.
            time: its time in the stream in seconds; one that is not later than the last is damage too.
        """
        backward = time is not None and time <= self._last
        if damaged or (backward and not key):
            self.shut = True
        elif key:
            self.shut = False
        if not self.shut and time is not None:
            self._last = time
        return not self.shut


class Gaps:
    """Notices missing pictures by their times, for codecs that do not number them: a steady stream has no gaps."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._interval: float | None = None

    def before(self, time: float | None) -> bool:
        """Tell whether a picture is missing before the one of this time, in seconds."""
        last, self._last = self._last, time
        if last is None or time is None or time <= last:
            return False
        interval, self._interval = self._interval, time - last
        return interval is not None and time - last > _GAP * interval


class ParameterSets:
    """Notices wrong bytes in H.264's parameter sets, ITU-T H.264 (08/2021), 7.3.2.1 and 7.3.2.2.

    They say how all that follows is to be decoded, so that pictures of another size, colour or order come of wrong ones
    without an error. A camera sends the same again and again. Others than before are doubted until they come a second
    time, or those of before come again; and no longer than a few packets, in case a camera always sends others.
    """

    def __init__(self) -> None:
        self._trusted: set[bytes] = set()
        self._new: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._doubted: set[int] = set()
        self._in_a_row = 0  # packets with sets that were doubted
        self._in_band = False

    def doubted(self, data: bytes, described: bool = False) -> bool:
        """Tell whether pictures from this packet on may lean on wrong sets.

        Args:
            data: units with start codes (Annex B), such as a packet of RTSP or MPEG-TS.
            described: whether these come with the stream's description. They are trusted, and so are the first ones in
                the stream itself, since some cameras describe what they no longer send.
        """
        sets = [unit.rstrip(b"\0") for unit in _units(data) if unit[0] & 31 in (_SPS, _PPS)]
        if not sets:
            return bool(self._doubted)
        if described or not self._in_band:
            self._trusted.update(sets)
            self._in_band = not described
        new = set(sets) - self._trusted
        self._in_a_row = self._in_a_row + 1 if new else 0
        known = new if self._in_a_row > _DOUBTED else new.intersection(self._new)
        if len(self._trusted) > _REMEMBERED:
            self._trusted = set(sets) - new
        self._trusted |= known
        self._new.extend(new - known)
        self._doubted -= {unit[0] & 31 for unit in sets}
        self._doubted |= {unit[0] & 31 for unit in new - known}
        return bool(self._doubted)


class FrameNumbers:
    """Notices missing pictures in H.264 by ``frame_num``; ITU-T H.264 (08/2021), 7.3.2.1.1, 7.3.3 and 7.4.3.

    FFmpeg fills a gap in these numbers with older pictures and says nothing.
    """

    def __init__(self) -> None:
        self._bits = 0  # of a frame number; 0 before the first SPS
        self._planes = False
        self._last: int | None = None  # the last reference picture's number

    def missing_before(self, data: bytes) -> bool:
        """Tell whether a picture that others refer to is missing before this one.

        Args:
            data: units with start codes (Annex B), such as a packet of RTSP or MPEG-TS.
        """
        missing = False
        for unit in _units(data):
            kind, refers = unit[0] & 31, unit[0] >> 5 & 3
            if kind == _SPS:
                self._read_sps(unit)
            elif kind in _SLICES and self._bits:
                missing |= self._gap(unit, kind == _IDR, refers > 0)
        return missing

    def _gap(self, unit: bytes, idr: bool, refers: bool) -> bool:
        bits = _Bits(unit[1:40])
        for _ in range(3):  # first macroblock, type, picture parameters
            bits.unsigned()
        if self._planes:
            bits.take(2)
        number, last = bits.take(self._bits), self._last
        if refers or idr:
            self._last = number
        return not idr and last is not None and (number - last) % (1 << self._bits) > 1

    def _read_sps(self, unit: bytes) -> None:
        bits = _Bits(unit[1:400])
        profile = bits.take(8)
        bits.take(16)
        bits.unsigned()
        self._planes = False
        if profile in _WITH_CHROMA:
            chroma = bits.unsigned()
            if chroma == 3:
                self._planes = bits.take(1) == 1
            bits.unsigned(), bits.unsigned(), bits.take(1)
            if bits.take(1):
                for number in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        bits.skip_scaling(16 if number < 6 else 64)
        self._bits = min(16, bits.unsigned() + 4)


def _units(data: bytes) -> list[bytes]:
    return [unit for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:] if unit]


class _Bits:
    """Bits of a unit, without the bytes that keep start codes out of it; zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        whole = data.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(whole, "big"), 8 * len(whole)

    def take(self, count: int) -> int:
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return shifted & ((1 << count) - 1)

    def unsigned(self) -> int:
        """Read an unsigned Exp-Golomb number, 9.1."""
        zeros = 0
        while zeros < 32 and not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        number = self.unsigned()
        return (number + 1) // 2 if number % 2 else -(number // 2)

    def skip_scaling(self, size: int) -> None:
        """Read a scaling list, 7.3.2.1.1.1."""
        last = following = 8
        for _ in range(size):
            if following:
                following = (last + self.signed()) % 256
            last = following or last
