"""The best model of a sweep, as MLflow shows and serves it."""
