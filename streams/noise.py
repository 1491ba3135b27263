"""Randomness for private training, which must be nobody's to repeat."""

import secrets

import numpy as np


def fresh_noise() -> np.random.RandomState:
    """A generator whose seed is 256 bits of the machine's entropy and is kept nowhere."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(secrets.randbits(256))))
