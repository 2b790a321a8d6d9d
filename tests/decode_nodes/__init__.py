"""The decode nodes for runtimes that have no kernels: references for tests, and a way to run a graph with them."""
