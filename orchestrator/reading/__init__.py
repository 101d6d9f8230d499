"""What a sweep has found, from the tracking store: tables, the report, the best model."""
