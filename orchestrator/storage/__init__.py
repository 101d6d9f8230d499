"""Results by key: what makes two stage calls the same work, and where their results are kept."""
