"""How processes of one training meet, as threads of this one."""

import concurrent.futures
import socket
import time

import pytest
from support.refusals import refuses

from transfer_keras.config.tf_config import Cluster
from transfer_keras.experiments.rendezvous import meet


def free_addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return {f"worker:{k}": f"127.0.0.1:{port}" for k, port in enumerate(ports)}


@pytest.mark.parametrize("last", ["worker:0", "worker:2"])
def test_all_wait_for_the_last(last):
    addresses = free_addresses(3)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        early = [
            pool.submit(meet, Cluster(addresses, name), 30) for name in addresses if name != last
        ]
        time.sleep(0.5)
        assert not any(one.done() for one in early)
        late = pool.submit(meet, Cluster(addresses, last), 30)
        for one in (*early, late):
            assert one.result(timeout=30) is None


@pytest.mark.parametrize(("own", "missing"), [("worker:0", "worker:1"), ("worker:1", "worker:0")])
def test_who_does_not_come_is_named(tmp_path, own, missing):
    addresses = free_addresses(2)
    named = rf"TF_CONFIG: {missing} \({addresses[missing]}\) does not answer\. Start the same"
    with refuses(tmp_path, named):
        meet(Cluster(addresses, own), patience=0.5)


def test_a_port_that_another_program_has(tmp_path):
    addresses = free_addresses(2)
    with (
        socket.create_server(("", int(addresses["worker:0"].rpartition(":")[2]))),
        refuses(tmp_path, r"TF_CONFIG: the port of 127\.0\.0\.1:\d+, .* cannot be opened \(Addr"),
    ):
        meet(Cluster(addresses, "worker:0"), patience=0.5)


def test_another_program_that_answers_is_nobody(tmp_path):
    addresses = free_addresses(2)
    host, _, port = addresses["worker:0"].rpartition(":")
    with socket.create_server((host, int(port))), refuses(tmp_path, "worker:0 .* does not answer"):
        meet(Cluster(addresses, "worker:1"), patience=0.5)
