from trials.model.shape import shape_of


def test_shape_is_read_off_the_model_without_its_weights() -> None:
    shape = shape_of("vit_small_patch16_224", {"num_classes": 10})
    assert (shape.patches, shape.prefix, shape.depth, shape.width) == (196, 1, 12, 384)
    assert (shape.hidden, shape.patch_inputs) == (1536, 768)
