"""cuda-bindings' driver module, whose functions end in one sentence where the driver does not have them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from ssd_edge.engines.cuda.driver import no_function


class Functions:
    """A module with the same names; its functions ``cu…`` raise CudaError if the driver's library lacks them.

    cuda-bindings looks a function up when it is first called, and raises RuntimeError if the driver has none of that
    name. A driver's answer to ``cuDriverGetVersion`` does not promise that: a container may hold an older library.

    Args:
        module: ``cuda.bindings.driver``.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if name.startswith("cu") and not isinstance(value, type):
            value = _or_a_sentence(name, value)
        setattr(self, name, value)  # looked up once
        return value


def _or_a_sentence(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def called(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except RuntimeError as error:
            if not re.match(r'Function "\w+" not found', str(error)):
                raise
            raise no_function(name) from None

    return called
