"""The fake TensorRT has no method, parameter, attribute or member that the real ones of 10 and 11 do not have."""

from __future__ import annotations

import enum
import inspect
import json
import re

import pytest

from tests.engines import fake_tensorrt
from tests.tensorrt.bindings import run_over

KINDS = [
    "Builder",
    "INetworkDefinition",
    "IOptimizationProfile",
    "OnnxParser",
    "IBuilderConfig",
    "ITimingCache",
    "Runtime",
    "ICudaEngine",
    "EngineInspector",
    "IExecutionContext",
]
OURS = {"outputs", "buffers", "failed", "content", "names", "timing_cache"}
"""Members that tests use of the fake."""


def public(kind: str) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(getattr(fake_tensorrt, kind)).items()
        if not name.startswith("_") and name not in OURS
    }


def enums() -> dict[str, list[str]]:
    return {
        name: list(value.__members__)
        for name, value in vars(fake_tensorrt).items()
        if inspect.isclass(value) and issubclass(value, enum.Enum)
    }


@pytest.fixture(scope="module", params=[10, 11])
def real(request):
    code = f"""
import json
kinds = {KINDS!r}
enums = {sorted(enums())!r}
print(json.dumps({{
    "kinds": {{k: {{n: getattr(getattr(trt, k), n).__doc__ or "" for n in dir(getattr(trt, k))}} for k in kinds}},
    "enums": {{name: list(getattr(trt, name).__members__) for name in enums}},
    "severities": list(trt.ILogger.Severity.__members__),
}}))
"""
    return json.loads(run_over(request.param, code))


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_parameters_are_the_real_ones(real, kind):
    for name, value in public(kind).items():
        assert name in real["kinds"][kind], name
        if inspect.isfunction(value):
            mine = list(inspect.signature(value).parameters)[1:]
            overloads = re.findall(rf"\b{name}\((.*)\) -> ", real["kinds"][kind][name])
            taken = [re.findall(r"(?:^|, )(\w+): ", text)[1:] for text in overloads]
            assert any(mine == one[: len(mine)] for one in taken), (name, mine, taken)


def test_members_are_the_real_ones(real):
    for name, members in enums().items():
        assert set(members) <= set(real["enums"][name]), name
    assert [one.name for one in fake_tensorrt.ILogger.Severity] == real["severities"]
