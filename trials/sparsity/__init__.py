"""Which weights survive: keep-masks, criteria, allocation, where pruning stops being free."""
