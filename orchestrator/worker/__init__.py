"""What happens in a process that computes: an item from its job to its run."""
