"""The transformer: timm's models, forward passes on kept patches, cost, export."""
