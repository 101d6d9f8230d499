"""Data sets: reading them, decoding, identity, where they lie in memory, splits and sizes.

`datasets.py` is what stages see, and `config.py` what a sweep file says. A new kind of data set is
a module in `readers/`.
"""
