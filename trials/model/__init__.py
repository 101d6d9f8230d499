"""The transformer: as data, on a device, as shape, cost and files.

`vit.py` and `hub.py` alone talk to timm. What prunes a model is in `sparsity`, what trains it in
`training`.
"""
