"""The head node's key-value memory, which every process of a cluster reaches.

Ray itself keeps its functions there. The public ways to share a few bytes are an actor, which is
one more process and dies with its node, and a file that all nodes see, which not all clusters have.
"""

from ray.experimental import internal_kv

AUTOSCALING = "__autoscaling_status"
"""Under this name an older autoscaler leaves its report."""


class HeadMemory:
    """Texts by name, below a space of their own."""

    def __init__(self, space: bytes) -> None:
        self.space = space

    def write(self, name: str, text: str) -> None:
        """Keep a text; one that is there is replaced."""
        internal_kv._internal_kv_put(name, text, overwrite=True, namespace=self.space)

    def read(self) -> dict[str, str]:
        """All texts by name."""
        names = internal_kv._internal_kv_list("", namespace=self.space)
        texts = {
            name.decode(): internal_kv._internal_kv_get(name, namespace=self.space)
            for name in names
        }
        return {name: text.decode() for name, text in texts.items() if text is not None}

    def remove(self, name: str) -> None:
        """Forget a text; one that is not there is no error."""
        internal_kv._internal_kv_del(name, namespace=self.space)

    def clear(self) -> None:
        """Forget all of them."""
        internal_kv._internal_kv_del("", del_by_prefix=True, namespace=self.space)


def autoscaler_report() -> bytes | None:
    """What an older autoscaler says of the cluster, as JSON; None where there is none."""
    report: bytes | None = internal_kv._internal_kv_get(AUTOSCALING)
    return report
