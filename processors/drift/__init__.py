"""Drift: what a window, or a sequence of outcomes, is compared with, and when the difference matters."""
