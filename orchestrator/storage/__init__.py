"""Results by key: which stage calls are the same work, and where their results are stored."""
