"""Functions that run in several connected processes: forked, so that none has to load torch again."""

import multiprocessing
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

import torch

from medcls.learning.processes import meeting


def in_processes(function: Callable[..., Any], *arguments: Any, processes: int = 2, seconds: float = 120) -> list[Any]:
    """What a function returns in each of some processes that are connected as those of a training."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    started = []
    for rank in range(processes):
        here, there = context.Pipe()
        one = context.Process(target=_run, args=(there, rank, processes, port, function, arguments))
        one.start()
        there.close()
        started.append((one, here))
    try:
        answers = []
        for _, here in started:
            assert here.poll(seconds), "a process hangs"
            # Not by torch's own way of sending tensors, for which the sender has to go on running.
            answers.append(pickle.loads(here.recv_bytes()))
    finally:
        for one, _ in started:
            one.kill()
            one.join()
    failed = [text for fine, text in answers if not fine]
    assert not failed, "\n".join(failed)
    return [value for _, value in answers]


def _run(there: Any, rank: int, processes: int, port: int, function: Callable[..., Any], arguments: Any) -> None:
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "NODE_RANK": 0, "MASTER_PORT": port}
    loopback = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo"}
    try:
        # A forked process has no threads of OpenMP.
        torch.set_num_threads(1)
        os.environ |= {name: str(value) for name, value in (places | loopback).items()}
        with meeting(rank, processes):
            answer = (True, function(*arguments))
    except BaseException:  # noqa: BLE001 - told to the test
        answer = (False, f"process {rank}:\n{traceback.format_exc()}")
    there.send_bytes(pickle.dumps(answer))
    there.close()
    # Without what the tests' own process does at its end.
    os._exit(0)
