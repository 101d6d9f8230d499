"""A trial as a graph of stages: what depends on what, and how it runs in memory."""
