"""Simulate two machines on one: network namespaces with a link of a set speed between them. Needs Linux and root."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

DELAY = 0.1e-3                                     # seconds, one way
ADDRESSES = '192.0.2.1', '192.0.2.2'               # of a network that is only for examples (RFC 5737)
NETWORK, LINK = '192.0.2.0/24', 'link0'
BURST = '128kb'                                    # what may pass at once: two packets as large as the kernel makes
QUEUE = '50ms'                                     # more than a connection has in flight, so that no packet is lost

# Called by Open MPI as ssh would be: with an address and words for a shell on that machine.
AGENT = '''#!/bin/sh
address=$1; shift
exec ip netns exec {prefix}$address unshare --uts sh -c \\
    "echo machine${{address##*.}} > /proc/sys/kernel/hostname; $*"
'''


def run(*words):
    """Return the output of a command. Raises CalledProcessError, with the command's stderr."""
    return subprocess.run(list(map(str, words)), check=True, encoding='utf-8', stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def lacking():
    """Return why this computer cannot simulate machines, or None."""
    if not sys.platform.startswith('linux') or os.geteuid():
        return 'it needs root on Linux, to make network namespaces'
    missing = [name for name in ('ip', 'tc', 'unshare') if not shutil.which(name)]
    if missing:
        return f"{' and '.join(missing)} not found"
    try:
        with Machines():
            return None
    except subprocess.CalledProcessError as error:
        return f"network namespaces do not work on this computer: {' '.join(error.stderr.split())}"


class Machines:
    """The two machines, made on entering and removed on leaving. Attribute delayed: whether the link has DELAY."""

    def __enter__(self):
        self._prefix = f'charlstm{os.getpid()}-'
        self._names = [self._prefix + address for address in ADDRESSES]
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self):
        for name in self._names:
            run('ip', 'netns', 'add', name)
            run('ip', '-n', name, 'link', 'set', 'lo', 'up')
        first, second = self._names
        run('ip', '-n', first, 'link', 'add', LINK, 'type', 'veth', 'peer', 'name', LINK, 'netns', second)
        for name, address in zip(self._names, ADDRESSES):
            run('ip', '-n', name, 'address', 'add', f'{address}/24', 'dev', LINK)
            run('ip', '-n', name, 'link', 'set', LINK, 'up')
        self.delayed = self._delays()

    def __exit__(self, *_):
        for name in self._names:
            with contextlib.suppress(subprocess.CalledProcessError):
                for process in run('ip', 'netns', 'pids', name).split():       # left behind by a failure
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(process), signal.SIGKILL)
                run('ip', 'netns', 'delete', name)

    def _queue(self, name, *words):
        run('tc', '-n', name, 'qdisc', *words[:1], 'dev', LINK, *words[1:])

    def _delays(self):
        """Return whether this kernel can delay packets."""
        try:
            self._queue(self._names[0], 'add', 'root', 'netem', 'delay', '1us')
        except subprocess.CalledProcessError:
            return False
        self._queue(self._names[0], 'delete', 'root')
        return True

    def shape(self, gigabits):
        """Limit the link to this many Gbit/s each way; 0: no limit."""
        for name in self._names:
            with contextlib.suppress(subprocess.CalledProcessError):           # no queue exists yet
                self._queue(name, 'delete', 'root')
            place = ['root']
            if self.delayed:
                self._queue(name, 'add', *place, 'handle', '1:', 'netem', 'delay', f'{DELAY * 1e6:.0f}us',
                            'limit', 100000)
                place = ['parent', '1:1']
            if gigabits:
                self._queue(name, 'add', *place, 'tbf', 'rate', f'{gigabits}gbit', 'burst', BURST, 'latency', QUEUE)

    def sent(self):
        """Return the bytes that each machine has sent over the link."""
        shown = [run('ip', '-n', name, '-s', '-j', 'link', 'show', 'dev', LINK) for name in self._names]
        return [json.loads(text)[0]['stats64']['tx']['bytes'] for text in shown]

    def launch(self, mpiexec, folder):
        """Return the words of mpiexec that start a process on each machine. folder: for a script that they need.

        The processes can reach each other only by TCP over the link.
        """
        agent = folder / 'agent'
        agent.write_text(AGENT.format(prefix=self._prefix))
        agent.chmod(0o700)
        enter = ['ip', 'netns', 'exec', self._names[0], 'unshare', '--uts', 'sh', '-c',
                 'echo machine1 > /proc/sys/kernel/hostname; exec "$@"', 'sh']
        return enter + [
            mpiexec, '-n', '2', '--host', ','.join(f'{address}:1' for address in ADDRESSES), '--bind-to', 'none',
            '--prtemca', 'plm_ssh_agent', str(agent), '--prtemca', 'prte_if_include', NETWORK,
            '--mca', 'pml', 'ob1', '--mca', 'btl', 'self,tcp', '--mca', 'btl_tcp_if_include', NETWORK]
