"""What a forward pass costs, in multiply-accumulates (MACs)."""

from trials.vit import Shape


def forward_macs(shape: Shape, kept_patches: int | None = None) -> float:
    """MACs of one image through the blocks and the patch embedding.

    depth * (n * d * (4 d + 2 hidden) + 2 n^2 d) + P * patch_inputs * d, with n = prefix + K
    tokens; the first term is 12 n d^2 when hidden = 4 d. All patches are embedded before the
    dropped ones are left out. Reproduces EViT's published figures within 0.06 G. Unstructured
    masks do not lower it: dense hardware multiplies the zeros too.

    Args:
        kept_patches: K; None = all.
    """
    n = shape.prefix + (shape.patches if kept_patches is None else kept_patches)
    d = shape.width
    block = n * d * (4 * d + 2 * shape.hidden) + 2 * n * n * d
    return float(shape.depth * block + shape.patches * shape.patch_inputs * d)


def training_macs(shape: Shape, images: float, kept_patches: int | None = None) -> float:
    """MACs of training on that many images: forward plus twice that for backward."""
    return 3.0 * images * forward_macs(shape, kept_patches)
