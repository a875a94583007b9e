"""Seeded mutations of a run's checkpoint, read by a process with little memory: each is refused in one line or read."""
import json
import random
import subprocess
import sys

import numpy as np
import pytest

from damage import DAMAGE, WRONG, forged, leaves
from scripts import ROOT, environment, load, succeeded

MEMORY = 2 ** 28           # bytes that the process which reads them all may take beyond its program

# Reads the parameters, the metadata and the state of a run from each file, and prints a digest or the error of each.
READ = '''
import hashlib, json, resource, sys
sys.path.insert(0, sys.argv[1])
import charlstm
from engine.state.run_state import read_run
from engine.run.options import checkpoint_of
from engine.process_group import SingleProcess
from engine.run.table import OPTIONS

def run(path):
    with checkpoint_of(path, OPTIONS, SingleProcess()) as (stored, progress):
        return read_run(stored, charlstm.read_checkpoint(stored)[0], charlstm.CharLSTM.optimiser_state)

def digest(value):
    if isinstance(value, dict):
        return {str(name): digest(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [digest(item) for item in value]
    numbers = hasattr(value, 'tobytes') and value.dtype != object
    return hashlib.sha256(value.tobytes()).hexdigest() if numbers else str(value)

used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
for path in sys.stdin.read().splitlines():
    for read in charlstm.read_checkpoint, charlstm.read_about, run:
        try:
            print(json.dumps(digest(read(path))))
        except (OSError, ValueError) as error:
            print(type(error).__name__ + ' ' + str(error))
'''


def bits(whole, other, chance):
    """Flip one or two bits, half of them among the last bytes, where zip has its directory."""
    directory, data = whole.index(b'PK\x01\x02'), bytearray(whole)
    for _ in range(chance.choice([1, 2])):
        data[chance.randrange(chance.choice([0, directory]), len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def cuts(whole, other, chance):
    """Cut off the end or the beginning, or cut something out of the middle."""
    first, last = sorted(chance.sample(range(len(whole) + 1), 2))
    return chance.choice([whole[:last], whole[first + 1:], whole[:first] + whole[last:]])


def spliced(whole, other, chance):
    """Join the beginning of one and the end of the other, as members of one with the directory of the other."""
    first, last = chance.sample([whole, other], 2)
    if chance.random() < 0.5:                              # exactly so
        return first[:first.index(b'PK\x01\x02')] + last[last.index(b'PK\x01\x02'):]
    return first[:chance.randrange(len(first))] + last[chance.randrange(len(last)):]


def inserted(whole, other, chance):
    """Insert random bytes, in addition to those before or instead of some."""
    start = chance.randrange(len(whole))
    return whole[:start] + bytes(chance.choices(range(256), k=30)) + whole[start + chance.choice([0, 30]):]


MUTATIONS = {bits: 80, cuts: 40, spliced: 40, inserted: 40}              # and how many of each


@pytest.fixture(scope='module')
def two_runs(short_run):
    """Return two checkpoints of a run that can be resumed."""
    return [(short_run.folder / f'r_t.txt_epoch{n}.npz') for n in (5, 2)]


def forge(path, checkpoint, chance):
    """Write a checkpoint with a forged field."""
    arrays = load(checkpoint)
    metadata = json.loads(str(arrays.pop('about')))
    field = chance.choice(list(leaves(metadata)))
    np.savez(path, about=np.array(json.dumps(forged(metadata, field, chance.choice(WRONG)))), **arrays)


def mutations(folder, checkpoints):
    """Write all mutated files. Returns their paths by kind."""
    chance, made = random.Random(10), {}
    whole, other = [path.read_bytes() for path in checkpoints]
    for mutate, count in MUTATIONS.items():
        made[mutate.__name__] = [folder / f'{mutate.__name__}{k}.npz' for k in range(count)]
        for path in made[mutate.__name__]:
            path.write_bytes(mutate(whole, other, chance))
    made['forged'] = [folder / f'forged{k}.npz' for k in range(40)]
    for path in made['forged']:
        forge(str(path), checkpoints[0], chance)
    huge = [damage for name, damage in DAMAGE.items() if name.startswith(('bomb', 'forged'))]
    made['huge'] = [folder / f'huge{k}.npz' for k in range(len(huge))]
    for path, damage in zip(made['huge'], huge):
        damage.write(str(path))
    return made


def test_mutations(two_runs, tmp_path):
    """Each is refused in one line that names the file, or read as one of the good ones; and none takes much memory."""
    made = mutations(tmp_path, two_runs)
    paths = [str(path) for path in two_runs] + [str(path) for some in made.values() for path in some]
    result = subprocess.run([sys.executable, '-c', READ, str(ROOT), str(MEMORY)], input='\n'.join(paths),
                            env=environment(OMP_NUM_THREADS='1'), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            encoding='utf-8')
    lines = succeeded(result).splitlines()
    assert len(lines) == 3 * len(paths) > 600              # so each is one line
    results = {path: lines[3 * k:3 * k + 3] for k, path in enumerate(paths)}
    good = [results.pop(str(path)) for path in two_runs]
    assert not any(line.startswith(('ValueError', 'OSError')) for lines in good for line in lines)
    refused = dict.fromkeys(made, 0)
    for kind, some in made.items():
        for path in map(str, some):
            for reader, line in enumerate(results[path]):
                if line.startswith(('ValueError ', 'OSError ')):
                    assert path in line and 'memory' not in line
                    refused[kind] += 1
                elif kind not in ('forged', 'huge'):      # these have other metadata, or good parts
                    assert line in [lines[reader] for lines in good] + ['{}'] * (reader == 1), path
    assert all(refused[kind] > len(some) for kind, some in made.items()), refused
