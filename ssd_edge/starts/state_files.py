"""Read a state_dict as training scripts save it: bare, or beside an optimizer, or of a network on several GPUs."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ssd_edge.errors import ModelError
from ssd_edge.spec import METADATA_KEY
from ssd_edge.starts.layout import State
from ssd_edge.training.checkpoints import read_torch_file

WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Keys under which training scripts keep the state_dict."""
_PARALLEL = "module."


def read_state(path: Path) -> State:
    """Read the tensors of a file that ``torch.save`` wrote, without executing anything in it.

    Raises:
        ModelError: the file is missing or damaged, holds more than tensors and plain values, or no state_dict.
    """
    content = read_torch_file(path)
    if METADATA_KEY in content:
        raise ModelError(f"{path} is a checkpoint of ssd-edge already: use it as it is")
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(
            f"{path} must hold a state_dict, tensors by name, bare or under {' or '.join(map(repr, WRAPPERS))}"
        )
    return {
        str(name).removeprefix(_PARALLEL): value.float() if value.is_floating_point() else value
        for name, value in content.items()
    }
