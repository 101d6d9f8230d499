"""Which patches survive: data lottery tickets, and what a model sees of an image."""
