"""Kinds of ONNX operators, by what they do to values."""

from __future__ import annotations

ACTIVATIONS = frozenset({"Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Relu", "Sigmoid", "Tanh"})
"""Activation functions; a convolution takes one in when it is compiled."""

ELEMENTWISE = ACTIVATIONS - {"PRelu"}
"""Activation functions of one value at a time: the slope of PRelu depends on the channel."""

NORMALISATIONS = frozenset(
    {
        "BatchNormalization",
        "GroupNormalization",
        "InstanceNormalization",
        "LRN",
        "LayerNormalization",
        "LpNormalization",
        "MeanVarianceNormalization",
        "RMSNormalization",
    }
)

POOLS = frozenset({"AveragePool", "GlobalAveragePool", "MaxPool"})

MOVES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that move values and do not change them, so that int8 passes through; the first input holds the values."""

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})

QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
