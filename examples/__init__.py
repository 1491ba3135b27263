"""Pipelines to run and to copy from; each is a package with its contracts, its data and its declaration."""
