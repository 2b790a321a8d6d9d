"""Place a network on a DLA, and list the layers that fall back to the GPU."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from ssd_edge.errors import BackendError

if TYPE_CHECKING:
    import tensorrt

    from ssd_edge.engines.tensorrt.layers import Layer
    from ssd_edge.engines.tensorrt.request import Request

_QDQ_SINCE = (11, 0)


def check_dla(request: Request, release: tuple[int, int]) -> None:
    """Refuse a request that no DLA can run. https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/dla-layer-restrictions.html

    Raises:
        BackendError: the request asks for FP32, for Q/DQ in a release that does not take it, for several batches, or
            for ``strict`` with decode inside, which needs the GPU.
    """
    if request.dla_core < 0:
        return
    if request.precision == "INT8" and release < _QDQ_SINCE:
        raise BackendError(
            "TensorRT {}.{} does not take Q/DQ for a DLA, whose INT8 NVIDIA documents with a calibration cache and no "
            "Q/DQ: build the FP32 heads with --dla, in FP16; ssd-edge calibrate --cache writes a cache, "
            "which trtexec takes by --calib".format(*release)
        )
    if request.precision == "FP32":
        raise BackendError("a DLA computes in FP16 and INT8, but FP32 was asked for: leave out --precision or --dla")
    if request.max_batch > 1:
        raise BackendError("a DLA takes one size of batch: leave out --max-batch or --dla")
    if request.strict and request.form != "host-launch":
        raise BackendError("decode inside the engine runs on the GPU, which --strict forbids: add --decode host-launch")


def place(
    trt: Any,
    builder: tensorrt.Builder,
    network: tensorrt.INetworkDefinition,
    config: tensorrt.IBuilderConfig,
    request: Request,
    convolutions: Collection[str],
) -> dict[str, str]:
    """Put the network on the DLA that a request names, if any, and return facts for the manifest.

    Raises:
        BackendError: there is no such DLA, it can run no convolution, or it cannot run a layer and ``strict`` is set.
    """
    if request.dla_core < 0:
        return {}
    cores = builder.num_DLA_cores
    if request.dla_core >= cores:
        present = "none" if cores == 0 else f"DLA {', '.join(map(str, range(cores)))}"
        raise BackendError(
            f"DLA {request.dla_core} was asked for, but this machine has {present}: leave out --dla, or name another"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = request.dla_core
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    unfit = [layer.name for layer in layers if not config.can_run_on_DLA(layer)]
    if unfit and request.strict:
        raise BackendError(
            f"{len(unfit)} of {len(layers)} layers cannot run on the DLA (the first is {unfit[0]!r}): without --strict "
            "they run on the GPU"
        )
    if convolutions and set(convolutions) <= set(unfit):
        raise BackendError(
            f"DLA {request.dla_core} can run none of the {len(convolutions)} convolutions: leave out --dla, and "
            "the GPU runs them"
        )
    if not request.strict:
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    return {
        "dla_core": str(request.dla_core),
        "dla_layers": f"{len(layers) - len(unfit)} of {len(layers)}",
        **({"not_on_dla": ", ".join(unfit)} if unfit else {}),
    }


def check_use(request: Request, layers: Sequence[Layer]) -> None:
    """Check that a plan for a DLA uses it; nothing is said where the inspector lists no layers.

    Raises:
        BackendError: TensorRT put all layers on the GPU.
    """
    if request.dla_core >= 0 and layers and not any(layer.on_dla for layer in layers):
        raise BackendError(
            f"TensorRT built a plan that runs nothing on DLA {request.dla_core}: leave out --dla, and it is a plan for "
            "the GPU"
        )
