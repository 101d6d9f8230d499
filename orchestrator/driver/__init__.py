"""Running a sweep: what is missing, in which order, on which nodes, and what became of it."""
