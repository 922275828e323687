"""Deterministic simulation: time, log and disk are replaced, one seed decides everything, checkers look on.

``python -m tests.simulation --seed N`` replays one seed; see :mod:`tests.simulation.world` for how it goes.
"""
