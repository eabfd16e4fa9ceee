"""Stages in forks of one process that has loaded TensorFlow: each starts in a fifth of a second instead of six.

    python -P tests/forks.py                        serves the socket that is its standard input
    python -IS tests/forks.py SOCKET -m MODULE ...  does what `python -m MODULE ...` would do in this folder

The server loads what stages need of others, and nothing of the project: a fork's code is that of the folder it is started
in. It runs no operation and has no thread, so that a fork is as good as a process of its own, to the byte of what it trains.
"""

import json
import os
import signal
import socket
import sys

LOADED = ("keras", "matplotlib.figure", "onnx", "PIL.Image", "scipy.optimize", "sklearn.metrics")


def ask(path: str, words: list[str]) -> None:
    """Have the server run a module on this process's streams, and end as it ends."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [b"\0"], [0, 1, 2])
        server.sendall(json.dumps([words, os.getcwd(), dict(os.environ)]).encode())
        server.shutdown(socket.SHUT_WR)
        status = int(server.recv(16) or -signal.SIGKILL)
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(status)


def serve(listening: socket.socket, tests: int) -> list[str]:
    """Fork for whoever asks, until the tests' process has ended. Returns in the fork alone: with what it is to run."""
    listening.settimeout(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    while os.getppid() == tests:
        try:
            asked, _ = listening.accept()
        except TimeoutError:
            continue
        if not os.fork():
            return become(asked)
        asked.close()
    sys.exit()


def become(asked: socket.socket) -> list[str]:
    """Take over the streams, the folder and the environment of whoever asks, in one fork more: this one tells how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked.settimeout(None)
    _, streams, _, _ = socket.recv_fds(asked, 1, 3)
    words, folder, environment = json.load(asked.makefile())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    if stage := os.fork():
        asked.sendall(str(os.waitstatus_to_exitcode(os.waitpid(stage, 0)[1])).encode())
        os._exit(0)
    asked.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    return words


if __name__ == "__main__" and len(sys.argv) > 1:
    ask(sys.argv[1], sys.argv[2:])
elif __name__ == "__main__":
    import gc
    import importlib
    import runpy

    tests = os.getppid()  # which may end while this one still loads
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()  # a fork that collects what is not its own would copy it
    sys.argv = serve(socket.socket(fileno=os.dup(0)), tests)[1:]
    sys.path.insert(0, os.getcwd())
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
