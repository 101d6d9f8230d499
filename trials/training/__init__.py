"""The one training loop and the one evaluation loop.

With them a recipe, the steps and images of a soup, and the state of what is not finished.
"""
