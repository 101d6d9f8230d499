"""A cluster that is elsewhere: `lotus submit` and what belongs to it."""
