"""Which part of every batch is whose, where several devices share the work."""

from typing import NamedTuple


class Part(NamedTuple):
    """The rows of every batch that one process reads.

    Attributes:
        index, of: it is number `index` of `of` processes, each with as many rows, in order.
        replicas: devices of all processes; a batch that may be short is padded to a multiple.
    """

    index: int = 0
    of: int = 1
    replicas: int = 1

    def rows(self, batch_size: int) -> slice:
        """Of a batch whose size is a multiple of `replicas`."""
        size = batch_size // self.of
        return slice(self.index * size, (self.index + 1) * size)

    def padded(self, count: int) -> int:
        """The next multiple of `replicas`."""
        return -(-count // self.replicas) * self.replicas


WHOLE = Part()
