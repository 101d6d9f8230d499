"""The stages: each a pure function in its own file, its settings and result beside it.

What two of them need is no stage, and lives in another wing.
"""
