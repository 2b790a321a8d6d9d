"""What can go wrong, in one tree.

    SsdEdgeError                    one clear sentence: what was met, what was expected, what to do next
    ├── SpecError                   a ModelSpec that contradicts itself, or is not there
    ├── DataError                   a data set that cannot be used
    ├── ModelError                  a checkpoint or an ONNX file that is not what is asked for
    ├── CalibrationError            scales that cannot be found or written
    ├── ProofError                  a model's proof that cannot be read
    │   └── DisagreementError           an engine that does not find what its model's proof says
    ├── BundleError                 a NAME.engine/ folder that cannot be used
    │   ├── BundleIntegrityError        missing, altered or unreadable
    │   └── BundleCompatibilityError    sound, but made for another version or machine
    ├── BackendError                a runtime that refused or failed
    │   ├── MissingDependencyError      a package that is not installed
    │   └── NoHeadsError                an engine that decodes by itself was asked for its heads
    ├── SourceError                 a camera, video, folder or stream that gives no frames
    └── SinkError                   an output that cannot be written

The library raises these; the command line prints the sentence and exits with 2.
"""

from __future__ import annotations


class SsdEdgeError(Exception):
    """Base of all errors that ssd-edge raises on purpose; ``str(error)`` is one sentence for a person."""


class SpecError(SsdEdgeError):
    """A model specification is missing, malformed or contradicts itself."""


class DataError(SsdEdgeError):
    """A data set or image cannot be used."""


class ModelError(SsdEdgeError):
    """A checkpoint or ONNX file is not of the expected kind or architecture."""


class CalibrationError(SsdEdgeError):
    """INT8 scales cannot be found or written."""


class ProofError(SsdEdgeError):
    """A model's proof is damaged, or another model's."""


class DisagreementError(ProofError):
    """An engine does not find what its model's proof says is to be found."""


class BundleError(SsdEdgeError):
    """An engine bundle cannot be used."""


class BundleIntegrityError(BundleError):
    """A bundle's file is missing, altered or unreadable."""


class BundleCompatibilityError(BundleError):
    """A sound bundle was made for another version, backend or machine."""


class BackendError(SsdEdgeError):
    """An inference runtime refused or failed."""


class MissingDependencyError(BackendError):
    """A package that this step needs is not installed; the sentence names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'ssd-edge[{extra}]'")


class NoHeadsError(BackendError):
    """An engine whose plan carries its decode gives detections, and was asked for its heads."""


class SourceError(SsdEdgeError):
    """A camera, video, folder or stream gives no frames."""


class SinkError(SsdEdgeError):
    """An output cannot be written."""
