"""Vega on the page and off it: the script bundle, what draws with it, and pictures without it."""
