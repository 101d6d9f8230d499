"""Which patches of an image survive: tickets, and what they are in a batch.

Plain tensors: nothing here knows a model, a data set or a stage. A new way to choose patches is a
function in `tickets.py`.
"""
