import pytest
import timm

from trials.errors import ModelError
from trials.model import hub


def test_downloaded_weights_are_known_by_their_name_in_timm() -> None:
    plain, other = (
        hub.identity(name) for name in ("vit_small_patch16_224", "deit_small_patch16_224")
    )
    assert "augreg" in plain
    assert plain != other
    with pytest.raises(ModelError, match=r"has no weights nonsense of .*; it has .*augreg"):
        hub.identity("vit_small_patch16_224.nonsense")
    without = "vit_base_patch16_18x2_224"
    assert without in timm.list_models()
    with pytest.raises(ModelError, match="has no weights of"):
        hub.identity(without)
