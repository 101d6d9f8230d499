"""Which weights survive: keep-masks, what scores weights, how many are kept and where.

And how far that goes: the targets of rounds, and where on a curve pruning stops being free. A new
criterion is a file in `criteria/`.
"""
