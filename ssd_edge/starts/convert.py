"""Make a checkpoint of ssd-edge from a detector that another project trained."""

from __future__ import annotations

from pathlib import Path

from ssd_edge.errors import ModelError
from ssd_edge.files import sha256
from ssd_edge.models.registry import make_network
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import METADATA_KEY
from ssd_edge.starts.catalogue import SOURCES
from ssd_edge.starts.labels import labels_of
from ssd_edge.starts.layout import Source, State, load, number_of_labels
from ssd_edge.starts.state_files import read_state
from ssd_edge.training.checkpoints import load_checkpoint, read_torch_file, save_checkpoint


def read_start(path: Path, source: str, labels: str = "") -> SSD:
    """Read a detector of another project as one of our networks, in evaluation mode on the CPU.

    Args:
        path: a file of the project; nothing in it is executed.
        source: a key of ``SOURCES``.
        labels: class names, see ``labels_of``.

    Raises:
        ModelError: the source is unknown; the file is missing, damaged or of another kind; its tensors do not fit.
        SpecError: the class names repeat.
    """
    if source not in SOURCES:
        raise ModelError(f"--from must be one of {', '.join(SOURCES)}, but got {source!r}")
    project: Source = SOURCES[source].load()
    network = fitted(project.read(path), project, path, labels)
    network.spec = network.spec.with_provenance(source=source, parent=path.name, parent_sha256=sha256(path))
    return network


def fitted(state: State, project: Source, path: Path, labels: str = "") -> SSD:
    """Make the network that a state_dict of a project fits, with its weights, in evaluation mode.

    Args:
        state: the file's tensors.
        project: the source.
        path: the file, for errors.
        labels: class names, see ``labels_of``.

    Raises:
        ModelError: the tensors fit none of the project's networks.
        SpecError: the class names repeat.
    """
    found = _source_of(state)
    advice = f"its names are those of --from {found}" if found else "choose another --from"
    layout = project.layout_of(state, path, advice)
    number = number_of_labels(state, layout, path)
    network = make_network(layout.spec(labels_of(labels, number, project.labels.get(number))))
    load(network, state, layout, path)
    return network.eval()


def open_start(path: Path) -> SSD:
    """Open a detector to begin a training with: a checkpoint of ssd-edge, or a file that ``read_start`` takes.

    The project that made it is found by the names of its tensors; a name that ends in .pb is a frozen graph.

    Raises:
        ModelError: the file is missing or damaged, or no detector that is known.
        SpecError: the spec in a checkpoint has another version.
    """
    if path.suffix == ".pb":
        return read_start(path, "tf-graph")
    if METADATA_KEY in read_torch_file(path):
        return load_checkpoint(path)
    if name := _source_of(read_state(path)):
        return read_start(path, name)
    raise ModelError(
        f"{path} is no detector that is known: its tensors are named neither as ssd-edge's nor as those of "
        f"{', '.join(SOURCES)}; if it holds a backbone's weights, give it to --backbone-weights"
    )


def _source_of(state: State) -> str:
    """Find the project that names its tensors so, by its key in ``SOURCES``; empty if there is none."""
    return next((name for name, choice in SOURCES.items() if choice.load().fitting(state)), "")


def import_start(path: Path, source: str, output: Path, labels: str = "") -> SSD:
    """Write a detector of another project as a checkpoint, and return its network; arguments as in ``read_start``.

    Raises:
        ModelError: as in ``read_start``; or the checkpoint cannot be written.
        SpecError: the class names repeat.
    """
    network = read_start(path, source, labels)
    save_checkpoint(output, network, network.spec)
    return network
