"""Ctrl-C and other signals that stop a program: while a script starts, during an import, and during training."""
import contextlib
import os
import signal
import sys
import threading

EXIT_INTERRUPTED = 130  # exit status of a program that Ctrl-C ended
ENDING = signal.SIGINT, signal.SIGTERM  # Ctrl-C, and `kill`


def _end(number, frame):
    with contextlib.suppress(OSError):
        os.write(2, f'{os.path.basename(sys.argv[0])}: interrupted\n'.encode('utf-8', 'replace'))
    os._exit(EXIT_INTERRUPTED)


def end_at_once():
    """Let Ctrl-C or SIGTERM end the program with one line: a module could catch a KeyboardInterrupt."""
    for number in ENDING:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):       # not if it is ignored
            signal.signal(number, _end)


def raise_again():
    """Let Ctrl-C or SIGTERM raise KeyboardInterrupt, after end_at_once(), so that nothing that was begun is left."""
    for number in ENDING:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def ctrl_c_delayed():
    """Delay the KeyboardInterrupt of Ctrl-C to the end of the block, which then is not left half done."""
    if (threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler):
        yield
        return
    received = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if received:
            raise KeyboardInterrupt from None


class StopRequest:
    """A context in which a signal requests a stop after the current step; a second signal stops at once.

    The signals are Ctrl-C, SIGTERM, SIGUSR1, which mpiexec passes to all processes and which
    batch systems send before the time is over, and SIGHUP, of a terminal that was closed. A
    second SIGHUP does not stop at once: the shell may send one, and the system another. A signal that is
    ignored stays so, as SIGHUP under nohup, and Ctrl-C in the background of a shell script.
    """
    HANGUP = getattr(signal, 'SIGHUP', None)
    SIGNALS = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP') if hasattr(signal, name)]

    def __init__(self, group):
        """Take a SingleProcess or a ProcessGroup, whose processes agree to stop."""
        self._group = group

    def __enter__(self):
        self._handlers = {number: signal.signal(number, self._request) for number in self.SIGNALS
                          if signal.getsignal(number) != signal.SIG_IGN}
        return self

    def _request(self, number, frame):
        if self._group.stop_requested and number != self.HANGUP:
            raise KeyboardInterrupt
        self._group.stop_requested = True

    @property
    def agreed(self):
        """Return whether all processes stop now."""
        return self._group.stop_agreed

    def __exit__(self, *error):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
