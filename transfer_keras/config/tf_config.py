"""TensorFlow's variable that names all machines of a training, checked before TensorFlow reads it.

TensorFlow itself would wait without end for a machine that does not exist.
"""

import json
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from transfer_keras.config.choices import TF_CONFIG
from transfer_keras.config.errors import UserError

EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)
_KINDS = ("chief", "worker")  # That train; the first of them all leads.


class Cluster(NamedTuple):
    """The processes that train together.

    Attributes:
        addresses: task, as "worker:0", -> "HOST:PORT"; the one that leads comes first.
        own: the task of this process.
    """

    addresses: Mapping[str, str]
    own: str


def read_cluster() -> Cluster | None:
    """Reads the variable; None where it is not set.

    Raises:
        UserError: naming what is wrong with it.
    """
    text = os.environ.get(TF_CONFIG)
    if not text:
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(f"cannot be read ({error})") from error
    cluster, task = (_part(config, name) for name in ("cluster", "task"))
    addresses: dict[str, str] = {}
    for kind in _KINDS:
        listed = cluster.get(kind, [])
        if not isinstance(listed, list):
            raise _refusal(f"{kind} is {json.dumps(listed)}, expected a list of addresses")
        addresses |= {f"{kind}:{k}": _checked(address) for k, address in enumerate(listed)}
    if len(set(addresses.values())) < len(addresses):
        raise _refusal("names an address twice")
    kind, index = task.get("type"), task.get("index")
    if not isinstance(index, int) or isinstance(index, bool):
        raise _refusal(f"the task's index is {json.dumps(index)}, expected a number")
    own = f"{kind}:{index}"
    if own not in addresses:
        raise UserError(
            f"{TF_CONFIG}: task {own} is none of {', '.join(addresses) or 'those that train'}. "
            "Give each process its own type and index."
        )
    return Cluster(addresses, own)


def host_and_port(address: str) -> tuple[str, int]:
    """Divides "HOST:PORT"."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _part(config: object, name: str) -> dict:
    part = config.get(name) if isinstance(config, dict) else None
    if not isinstance(part, dict):
        raise _refusal(f"has no {name}")
    return part


def _checked(address: object) -> str:
    match = isinstance(address, str) and re.fullmatch(
        r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\d{1,5})", address
    )
    if not match or not 0 < int(match[2]) < 2**16:
        raise _refusal(f"{json.dumps(address)} is no address. Give HOST:PORT")
    return address


def _refusal(why: str) -> UserError:
    return UserError(f"{TF_CONFIG}: {why}. Expected {EXAMPLE}")
