"""The network to quantise: which convolutions become INT8, where pairs stand, and how far it is from FP32."""
