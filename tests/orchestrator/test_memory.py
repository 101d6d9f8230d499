import gc

from orchestrator.memory import keep, nothing_is_garbage


def test_garbage_is_looked_for_again_afterwards_as_before() -> None:
    assert gc.isenabled()
    with nothing_is_garbage():
        assert not gc.isenabled()
        with nothing_is_garbage():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_is_kept_is_not_walked_over_again() -> None:
    made = [[number] for number in range(100)]
    try:
        keep()
        walked = {id(one) for one in gc.get_objects()}
        assert not walked & set(map(id, made))
    finally:
        gc.unfreeze()
