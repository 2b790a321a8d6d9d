"""The project's tests on the other processor: ``make test-aarch64``."""
