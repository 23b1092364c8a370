"""All processes of a training meet before TensorFlow connects them.

TensorFlow waits without end, and deaf to signals, for a process that never comes. So each says
first that it is there, by plain sockets on the same ports, and those that wait in vain say for
whom. Nothing is sent but the names of tasks.
"""

import contextlib
import socket
import time

from transfer_keras.config import UserError, choices, tf_config

PATIENCE = 60.0  # Seconds from the first process to the last.
_PAUSE = 0.2  # Seconds between two tries.
_GO = b"go\n"
_LONGEST = 64  # Bytes of a task's name.


def meet(cluster: tf_config.Cluster, patience: float = PATIENCE) -> None:
    """Waits until all processes of a cluster are there and can be reached by the one that leads.

    Args:
        cluster: of two processes or more.
        patience: seconds for which others are waited for.

    Raises:
        UserError: naming who has not come, or why this process cannot be reached.
    """
    leader, *others = cluster.addresses
    deadline = time.monotonic() + patience
    with _listen(cluster) as server:
        if cluster.own == leader:
            _lead(server, cluster, set(others), deadline)
        else:
            _follow(cluster, leader, deadline)


def _listen(cluster: tf_config.Cluster) -> socket.socket:
    address = cluster.addresses[cluster.own]
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(
            ("", tf_config.host_and_port(address)[1]), family=family, dualstack_ipv6=dual
        )
    except OSError as error:
        raise UserError(
            f"{choices.TF_CONFIG}: the port of {address}, that of this process ({cluster.own}), "
            f"cannot be opened ({error.strerror}). Give another, or end what has it."
        ) from error


def _lead(
    server: socket.socket, cluster: tf_config.Cluster, missing: set[str], deadline: float
) -> None:
    """Takes in all others, tries the way back to each, and lets them go on."""
    with contextlib.ExitStack() as stack:
        arrived = []
        while missing:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = server.accept()
            except TimeoutError as error:
                raise _nobody(cluster, sorted(missing)) from error
            stack.enter_context(connection)
            connection.settimeout(5)
            try:
                name = connection.recv(_LONGEST).decode("ascii", "replace").strip()
            except OSError:
                continue  # Who asks at a port and says nothing is none of them.
            if name in cluster.addresses and name != cluster.own:
                missing.discard(name)
                arrived.append(connection)
        for name, address in cluster.addresses.items():
            if name != cluster.own:
                try:
                    socket.create_connection(tf_config.host_and_port(address), timeout=5).close()
                except OSError as error:
                    raise _nobody(cluster, [name]) from error
        for connection in arrived:
            with contextlib.suppress(OSError):  # It came twice, and this is the earlier time.
                connection.sendall(_GO)


def _follow(cluster: tf_config.Cluster, leader: str, deadline: float) -> None:
    """Says that it is there until the one that leads lets all go on."""
    address = tf_config.host_and_port(cluster.addresses[leader])
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise _nobody(cluster, [leader])
        try:
            with socket.create_connection(address, timeout=remaining) as connection:
                connection.settimeout(remaining + 10)  # It says itself for whom it waits.
                connection.sendall(f"{cluster.own}\n".encode())
                if connection.recv(len(_GO)) == _GO:
                    return
        except OSError:
            pass  # It is not there yet; the deadline says when that is a mistake.
        time.sleep(_PAUSE)


def _nobody(cluster: tf_config.Cluster, missing: list[str]) -> UserError:
    names = ", ".join(f"{name} ({cluster.addresses[name]})" for name in missing)
    return UserError(
        f"{choices.TF_CONFIG}: {names} does not answer. Start the same command on all machines "
        f"within {PATIENCE:.0f} s, and let each reach the others' ports; nothing was begun."
    )
