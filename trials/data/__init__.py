"""Data sets, their splits and fractions."""
