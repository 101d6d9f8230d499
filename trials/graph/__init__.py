"""A trial as a graph of stages: what its arm needs, what it reads, and how much work that is.

Nobody but whoever plans or runs a trial imports this. `execute.py` runs a graph in memory.
"""
