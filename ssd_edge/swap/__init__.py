"""Exchange the engine of a running loop under a contract: prove it, compare it in the shadow, let it in, and go back.

A candidate runs in a child process until it has proven itself, so that neither its crash nor its memory is the loop's.
"""
