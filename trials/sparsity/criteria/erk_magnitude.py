"""Magnitude inside layers whose densities are given by their shapes."""

from trials.sparsity.criteria.criterion import Criterion
from trials.sparsity.criteria.magnitude import magnitude

# Scores |w|; what differs from `magnitude` is where the survivors may be: every layer keeps
# (in + out) / (in * out) of its weights, times one factor, at most all of them.
# Source: RigL (Evci et al. 2020), Erdős–Rényi-Kernel; for a Linear weight the kernel is 1 x 1.
CRITERION = Criterion("erk_magnitude", magnitude, allocation="erk")
