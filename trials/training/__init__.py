"""The one training loop and the one evaluation loop, and the state of an unfinished training."""
