"""Fixtures of tests that need a GPU, real or emulated: see ``tests.cuda.fixtures``."""

from tests.cuda.fixtures import device, driver, emulated, gpu, library, module

__all__ = ["device", "driver", "emulated", "gpu", "library", "module"]
