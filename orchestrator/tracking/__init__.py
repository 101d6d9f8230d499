"""MLflow: the runs of a sweep, written exactly once and read back."""
