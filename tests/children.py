"""Functions run in processes of their own, so that a crash or a hang is one failed test."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

# A server process that has imported what children need and runs no threads: a child is a fork of it.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["fastload", "fastload.block.writer", "canonical", "surgery"])


def start(function: Callable[..., Any], *arguments: Any) -> multiprocessing.process.BaseProcess:
    """`function` is a module's; it and the arguments are pickled."""
    process = CONTEXT.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def call(function: Callable[..., Any], *arguments: Any, timeout_s: float = 120) -> Any:
    """What `function` returns. Fails if it raises, is killed by a signal, or has not ended in time."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = start(_answer, sender, function, arguments)
    sender.close()
    try:
        assert receiver.poll(timeout_s), f"{function.__name__} has not ended after {timeout_s} s"
        value, problem = receiver.recv()
    except EOFError:
        value, problem = None, "no answer"
    finally:
        process.join(5)
        process.kill()
    code = process.exitcode
    died = f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
    assert code == 0, f"{function.__name__}: {died}; {problem}"
    assert not problem, problem
    return value


def _answer(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer = function(*arguments), ""
    except BaseException:
        answer = None, traceback.format_exc()
    sender.send(answer)
