"""The stages of LOTUS, one file each, with its settings and its result beside it."""
