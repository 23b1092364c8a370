"""Divides a network between its weighted layers, where several tensors may pass."""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator

import keras

from transfer_keras.surgery import graph

_BELOW, _ABOVE = "below", "above"


def several_segments(model: keras.Model) -> Iterator[tuple[list, object]]:
    """Splits the graph between its weighted layers, where the fewest tensors are alive.

    The weighted layers are taken in the order of their first calls: the deepest first, as `summary`
    lists them. Between one and the next lie nodes without weights of rank 2 or more, and each may
    be below or above the boundary. It is put where the fewest tensors are alive: those that are
    made below it, and are used above it or are outputs. Of several such places it is the last: the
    smallest cuts of a graph are closed under union, so there is one above all others, and these
    follow one another from weighted layer to weighted layer. Where one tensor can be alone, this
    is the boundary that `graph.segments` gives.

    A layer that is called again is below the boundary in all calls that depend on no layer above.

    Args:
        model: functional.

    Yields:
        (nodes, tensors): the nodes since the last boundary, in order, and the tensors alive at the
        boundary that ends them: one `KerasTensor`, or a tuple, inputs first.
    """
    order = graph.listed_nodes(model)
    first, last = _windows(order)
    below: set[int] = set()
    for number in range(1, max(first.values(), default=0) + 1):
        now = below | {key for key, end in last.items() if end <= number}
        # What may lie on either side: a weighted layer above needs it, or none does.
        free = [node for node in order if id(node) not in now and first[id(node)] <= number]
        now |= {id(node) for node in free} - _above(_flow_network(model, order, now, free))
        segment = [node for node in order if id(node) in now and id(node) not in below]
        below = now
        tensors = graph.boundary(model, [node for node in order if id(node) in below])
        yield segment, tensors[0] if len(tensors) == 1 else tuple(tensors)


def _windows(order: list) -> tuple[dict[int, int], dict[int, int]]:
    """Finds the first and the last unit in which each node can lie, by the node's identity.

    Not before the weighted layers that it depends on, and not after those that depend on it.
    """
    makers = {id(tensor): node for node in order for tensor in node.output_tensors}
    # Identity of a weight of rank 2 or more -> number of the unit that it begins.
    units: dict[int, int] = {}
    first: dict[int, int] = {}
    count = 0
    for node in order:
        kernels = [id(weight) for weight in graph.kernels(node.operation)]
        new = [key for key in kernels if key not in units]
        count += bool(new)
        units |= dict.fromkeys(new, count)
        parents = [makers[id(x)] for x in node.input_tensors if id(x) in makers]
        first[id(node)] = max(
            [0, *(units[key] for key in kernels), *(first[id(parent)] for parent in parents)]
        )
    last = dict.fromkeys(first, count)
    for node in reversed(order):
        if graph.kernels(node.operation):
            last[id(node)] = first[id(node)]
        for parent in (makers[id(x)] for x in node.input_tensors if id(x) in makers):
            last[id(parent)] = min(last[id(parent)], last[id(node)])
    return first, last


def _flow_network(model, order: list, below: Collection[int], free: list) -> dict:
    """Makes the network of which each cut costs the number of tensors alive at a boundary.

    Args:
        model: functional.
        order: its nodes.
        below: identities of the nodes that lie below.
        free: the nodes that may lie below or above; all others lie above.

    Returns:
        vertex -> next vertex -> capacity. Vertices are `_BELOW`, `_ABOVE`, and the identities of
        free nodes and of the tensors that they make or use.
    """
    inside = {id(node) for node in free}
    makers = {id(tensor): id(node) for node in free for tensor in node.output_tensors}
    users_above = {id(tensor) for tensor in model.outputs} | {
        id(tensor)
        for node in order
        if id(node) not in inside and id(node) not in below
        for tensor in node.input_tensors
    }
    capacity: dict = defaultdict(Counter)

    def connect(start, end, value):
        capacity[start][end] += value
        capacity[end][start] += 0

    for node in free:
        for tensor in node.input_tensors:
            connect(id(tensor), id(node), math.inf)
            # A node lies below only together with all that it depends on.
            if id(tensor) in makers:
                connect(id(node), makers[id(tensor)], math.inf)
    for tensor in {id(x) for node in free for x in (*node.input_tensors, *node.output_tensors)}:
        connect(makers.get(tensor, _BELOW), tensor, 1)
        if tensor in users_above:
            connect(tensor, _ABOVE, math.inf)
    return capacity


def _above(capacity: dict) -> set:
    """Finds the vertices above the last of the smallest cuts; changes `capacity`.

    Flow is sent from below to above as long as a path is open (Ford and Fulkerson). Then the
    vertices from which a path leads above are those that lie above every smallest cut.
    """
    while True:
        following = {_ABOVE: None}
        pending = deque([_ABOVE])
        while pending and _BELOW not in following:
            vertex = pending.popleft()
            for before in capacity[vertex]:
                if before not in following and capacity[before][vertex] > 0:
                    following[before] = vertex
                    pending.append(before)
        if _BELOW not in following:
            return set(following)
        vertex = _BELOW
        while vertex != _ABOVE:
            capacity[vertex][following[vertex]] -= 1
            capacity[following[vertex]][vertex] += 1
            vertex = following[vertex]
