"""Fit another project's state_dict into one of our networks, or say in its own names what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ssd_edge.errors import ModelError
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import ModelSpec
from ssd_edge.training.checkpoints import listed

State = dict[str, Tensor]
"""Tensors by the names of the project that wrote them, in PyTorch's order of dimensions."""


@dataclass(frozen=True)
class Layout:
    """How a project names the tensors of one network, and what else it fixes about it.

    Attributes:
        class_bias: their name of the bias of the first class head, which no other layout of the source has; its length
            is boxes of a cell times classes.
        names: their beginnings of names by ours; the longest of ours that fits is replaced.
        spec: makes the spec for class names without background.
        marks: their names of tensors that tell this layout from others with the same ``class_bias``, with the size of
            the first dimension.
    """

    class_bias: str
    names: Mapping[str, str]
    spec: Callable[[Sequence[str]], ModelSpec]
    marks: Mapping[str, int] = field(default_factory=dict)

    def fits(self, state: State) -> bool:
        """Tell whether a state_dict has the tensors that mark this layout."""
        return self.class_bias in state and all(
            name in state and len(state[name]) == size for name, size in self.marks.items()
        )

    def theirs(self, name: str) -> str:
        """Translate a name of one of our tensors."""
        ours = max((start for start in self.names if name.startswith(start)), key=len, default="")
        return self.names.get(ours, "") + name.removeprefix(ours)


@dataclass(frozen=True)
class Source:
    """A project whose detectors can be imported.

    Attributes:
        title: the project, as the end of a sentence.
        read: reads a file; raises ModelError.
        layouts: the networks that it defines.
        labels: class names without background, by their number, where the project's own data sets fix them.
    """

    title: str
    read: Callable[[Path], State]
    layouts: Sequence[Layout]
    labels: Mapping[int, Sequence[str]]

    def fitting(self, state: State) -> Layout | None:
        """Return the layout of a state_dict; None if it is none of the source's."""
        return next((layout for layout in self.layouts if layout.fits(state)), None)

    def layout_of(self, state: State, path: Path, advice: str) -> Layout:
        """Return the layout of a state_dict.

        Args:
            state: tensors by name.
            path: the file, for the error.
            advice: what to do if it is none of the source's.

        Raises:
            ModelError: it is none of the source's.
        """
        if layout := self.fitting(state):
            return layout
        marks = list(dict.fromkeys(layout.class_bias for layout in self.layouts))
        held = f"it holds {listed(list(state))}" if state else "it holds no tensors"
        raise ModelError(
            f"{path} is no detector of {self.title}: a tensor must be called {' or '.join(marks)}, but {held}: {advice}"
        )


def number_of_labels(state: State, layout: Layout, path: Path) -> int:
    """Count the classes of a state_dict without background.

    Raises:
        ModelError: the class head has an impossible size.
    """
    boxes = len(layout.spec(["any"]).levels[0].sizes)
    classes, rest = divmod(state[layout.class_bias].numel(), boxes)
    if rest or classes < 2:
        raise ModelError(
            f"{path}: {layout.class_bias} must have {boxes} values for each class and background, but has "
            f"{state[layout.class_bias].numel()}"
        )
    return classes - 1


def load(network: SSD, state: State, layout: Layout, path: Path) -> None:
    """Load a state_dict into a network; every tensor of both must find its counterpart.

    Args:
        network: changed in place.
        state: the file's tensors.
        layout: translates the names.
        path: the file, for the error.

    Raises:
        ModelError: names the tensors that are missing, left over or of another shape, as the file would call them.
    """
    own = network.state_dict()
    wanted = {layout.theirs(name): name for name in own}
    counters = {
        name for name in wanted if name.endswith("num_batches_tracked")
    }  # files from before torch 0.4 have none
    missing = [name for name in wanted if name not in state and name not in counters]
    left_over = [name for name in state if name not in wanted]
    common = [name for name in wanted if name in state]
    differing = [name for name in common if state[name].shape != own[wanted[name]].shape]
    problems = [
        f"{len(names)} {'is' if len(names) == 1 else 'are'} {what}: {listed(names)}"
        for what, names in (
            ("missing", missing),
            ("left over", left_over),
            ("of another shape", [_shapes(name, state[name], own[wanted[name]]) for name in differing]),
        )
        if names
    ]
    if problems:
        raise ModelError(f"the tensors in {path} do not fit {network.spec.architecture}: {'; '.join(problems)}")
    network.load_state_dict({wanted[name]: state[name] for name in common}, strict=False)


def _shapes(name: str, given: Tensor, wanted: Tensor) -> str:
    return f"{name} {list(given.shape)} in place of {list(wanted.shape)}"
