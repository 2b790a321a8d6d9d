"""Damaged inputs made by seed: each border of the program gives an answer or one sentence, within memory and time.

``python -m tests.fuzz --number 10000 --seed 1`` makes that many and names each that fails; ``--only KIND:SEED`` makes
one again, with its traceback.
"""
