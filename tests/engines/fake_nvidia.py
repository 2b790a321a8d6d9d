"""Code shared by the fakes of TensorRT and TensorRT-RTX."""

from __future__ import annotations

import enum


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT32 = 3


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self):
        pass


class Part:
    """An object of a library, which has ``fails``: names of methods that fail, and what the log says then."""

    def __init__(self, library, logger):
        self.library, self.logger = library, logger

    def failed(self, name):
        """Whether it does; an error a line, between words of less weight, as the real ones."""
        if name in self.library.fails:
            self.logger.log(ILogger.Severity.WARNING, "a warning before")
            for line in self.library.fails[name].splitlines():
                self.logger.log(ILogger.Severity.ERROR, line)
            self.logger.log(ILogger.Severity.INFO, "and something after")
        return name in self.library.fails
