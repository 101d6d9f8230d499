"""Data sets: reading them, their splits, stratified fractions and sizes.

A new data set is a reader in `datasets.py`.
"""
