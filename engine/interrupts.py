"""Ctrl-C while modules are imported: half an import could only go on in odd ways, or fail with a false reason."""
import contextlib
import os
import signal
import sys
import threading

EXIT_INTERRUPTED = 130  # exit status of a program that Ctrl-C ended


def _end(number, frame):
    with contextlib.suppress(OSError):
        os.write(2, f'{os.path.basename(sys.argv[0])}: interrupted\n'.encode('utf-8', 'replace'))
    os._exit(EXIT_INTERRUPTED)


def end_at_once():
    """Let Ctrl-C end the program with a line, where it would raise KeyboardInterrupt: while a script starts."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:          # not where it is ignored
        signal.signal(signal.SIGINT, _end)


def raise_again():
    """Let Ctrl-C raise KeyboardInterrupt again, after end_at_once()."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def held():
    """Raise the KeyboardInterrupt of a Ctrl-C inside at the end, instead of in the midst of an import."""
    if (threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler):
        yield
        return
    came = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if came:
            raise KeyboardInterrupt from None
