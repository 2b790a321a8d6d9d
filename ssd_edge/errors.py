"""The tree of errors that ssd-edge raises.

    SsdEdgeError                    one clear sentence: what was met, what was expected, what to do next
    ├── SpecError                   a ModelSpec is missing, malformed or contradicts itself
    ├── DataError                   a data set or image cannot be used
    ├── ModelError                  a checkpoint or ONNX file is not what was asked for
    ├── CalibrationError            INT8 scales cannot be found or written
    ├── ProofError                  a model's proof is damaged or belongs to another model
    │   └── DisagreementError           an engine's detections differ from its model's proof
    ├── BundleError                 a NAME.engine/ folder cannot be used
    │   ├── BundleIntegrityError        a file is missing, altered or unreadable
    │   └── BundleCompatibilityError    the bundle is intact, but made for another version, backend or machine
    ├── BackendError                an inference runtime refused or failed
    │   ├── MissingDependencyError      a package is not installed
    │   └── NoHeadsError                an engine that decodes by itself was asked for its heads
    ├── WatchError                  a file of zones and lines cannot be used
    ├── SourceError                 a camera, video, folder or stream gives no frames
    ├── SinkError                   an output cannot be written
    ├── RecordingError              a recording of frames cannot be replayed
    ├── ServiceError                the file of a service cannot be used, or the service cannot be installed
    ├── SwapError                   a new engine may not take over from the one that runs
    └── PageError                   the live page cannot be served, or what it was told to do cannot be done

The library raises these; the command line prints the sentence and exits with code 2.
"""

from __future__ import annotations


class SsdEdgeError(Exception):
    """Base class of all errors that ssd-edge raises on purpose; ``str(error)`` is one readable sentence."""


class SpecError(SsdEdgeError):
    """A model specification is missing, malformed or contradicts itself."""


class DataError(SsdEdgeError):
    """A data set or image cannot be used."""


class ModelError(SsdEdgeError):
    """A checkpoint or ONNX file has another kind or architecture than expected."""


class CalibrationError(SsdEdgeError):
    """INT8 scales cannot be found or written."""


class ProofError(SsdEdgeError):
    """A model's proof is damaged, or belongs to another model."""


class DisagreementError(ProofError):
    """An engine's detections differ from those in its model's proof."""


class BundleError(SsdEdgeError):
    """An engine bundle cannot be used."""


class BundleIntegrityError(BundleError):
    """A file of a bundle is missing, altered or unreadable."""


class BundleCompatibilityError(BundleError):
    """A bundle is intact, but was made for another version, backend or machine."""


class BackendError(SsdEdgeError):
    """An inference runtime refused or failed."""


class MissingDependencyError(BackendError):
    """A package that this step needs is not installed; the sentence names the extra to install, or another remedy.

    What a GPU needs depends on the machine: ``machine.gpu_packages.missing`` makes that error.
    """

    def __init__(self, package: str, extra: str, purpose: str, remedy: str = "") -> None:
        advice = remedy or f"pip install 'ssd-edge[{extra}]'"
        super().__init__(f"{purpose} needs {package}, which is not installed: {advice}")


class NoHeadsError(BackendError):
    """An engine that decodes by itself, and so gives only detections, was asked for its heads."""


class WatchError(SsdEdgeError):
    """A file of zones and lines cannot be used."""


class SourceError(SsdEdgeError):
    """A camera, video, folder or stream gives no frames."""


class SinkError(SsdEdgeError):
    """An output cannot be written."""


class RecordingError(SsdEdgeError):
    """A recording of frames and detections cannot be replayed."""


class ServiceError(SsdEdgeError):
    """The file that describes a service cannot be used, or the service cannot be installed or served."""


class SwapError(SsdEdgeError):
    """A new engine may not take over from the one that runs, or cannot be tried now."""


class PageError(SsdEdgeError):
    """The live page cannot be served, or what it was told to do cannot be done."""
