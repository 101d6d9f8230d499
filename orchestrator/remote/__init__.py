"""Working with a remote cluster: `lotus submit` and its companions."""
