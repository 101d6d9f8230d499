"""The results of a sweep from the tracking store: tables, the report, the best model."""
