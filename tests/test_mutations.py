"""Hundreds of seeded mutations of a checkpoint of a run, read where there is little memory: as it was, or one line."""
import json
import random
import subprocess
import sys

import numpy as np
import pytest

from damage import DAMAGE, WRONG, forged, leaves
from scripts import ROOT, environment, load

ROOM = 2 ** 28             # bytes that the process which reads them all may take beside its program

# Reads each file as its parameters, as what it says, and as a run that goes on, and says what came of that.
READ = '''
import hashlib, json, resource, sys
sys.path.insert(0, sys.argv[1])
import charlstm, train
from engine.state.parameters import read_run
from engine.run.options import checkpoint_of
from engine.process_group import SingleProcess

def run(path):
    with checkpoint_of(path, train.OPTIONS, SingleProcess()) as (stored, progress):
        return read_run(stored, charlstm.read_checkpoint(stored)[0])

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
    """One or two bits, every second time among the last bytes, where zip has its directory."""
    directory, data = whole.index(b'PK\x01\x02'), bytearray(whole)
    for _ in range(chance.choice([1, 2])):
        data[chance.randrange(chance.choice([0, directory]), len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def cuts(whole, other, chance):
    """The end is gone, the beginning, or something in the middle."""
    first, last = sorted(chance.sample(range(len(whole) + 1), 2))
    return chance.choice([whole[:last], whole[first + 1:], whole[:first] + whole[last:]])


def spliced(whole, other, chance):
    """The beginning of one and the end of another: members of one under the directory of the other."""
    first, last = chance.sample([whole, other], 2)
    if chance.random() < 0.5:                              # exactly so
        return first[:first.index(b'PK\x01\x02')] + last[last.index(b'PK\x01\x02'):]
    return first[:chance.randrange(len(first))] + last[chance.randrange(len(last)):]


MUTATIONS = {bits: 150, cuts: 80, spliced: 80}             # and how many of each


@pytest.fixture(scope='module')
def two_runs(judged):
    """A checkpoint of a run that can go on, and another of it."""
    return [(judged.folder / f'r_t.txt_epoch{n}.npz') for n in (5, 2)]


def forge(path, checkpoint, chance):
    """Write a checkpoint with a field forged."""
    arrays = load(checkpoint)
    about = json.loads(str(arrays.pop('about')))
    field = chance.choice(list(leaves(about)))
    np.savez(path, about=np.array(json.dumps(forged(about, field, chance.choice(WRONG)))), **arrays)


def mutations(folder, checkpoints):
    """Paths of all the mutated files, by kind."""
    chance, made = random.Random(10), {}
    whole, other = [path.read_bytes() for path in checkpoints]
    for mutate, count in MUTATIONS.items():
        made[mutate.__name__] = [folder / f'{mutate.__name__}{k}.npz' for k in range(count)]
        for path in made[mutate.__name__]:
            path.write_bytes(mutate(whole, other, chance))
    made['forged'] = [folder / f'forged{k}.npz' for k in range(100)]
    for path in made['forged']:
        forge(str(path), checkpoints[0], chance)
    made['bombs'] = [folder / f'{name[6:]}.npz' for name in DAMAGE if name.startswith('bomb: ')]
    for path in made['bombs']:
        DAMAGE['bomb: ' + path.stem].write(str(path))
    return made


def test_a_few_hundred_mutations(two_runs, tmp_path):
    """Each is refused in one line that names the file, or read as what it was; and none takes much memory."""
    made = mutations(tmp_path, two_runs)
    paths = [str(path) for path in two_runs] + [str(path) for some in made.values() for path in some]
    result = subprocess.run([sys.executable, '-c', READ, str(ROOT), str(ROOM)], input='\n'.join(paths),
                            env=environment(OMP_NUM_THREADS='1'), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            encoding='utf-8')
    assert (result.returncode, result.stderr) == (0, '')
    said = result.stdout.splitlines()
    assert len(said) == 3 * len(paths) > 1200              # so each in one line
    said = {path: said[3 * k:3 * k + 3] for k, path in enumerate(paths)}
    whole = [said.pop(str(path)) for path in two_runs]
    assert not any(line.startswith(('ValueError', 'OSError')) for lines in whole for line in lines)
    refused = dict.fromkeys(made, 0)
    for kind, some in made.items():
        for path in map(str, some):
            for what, line in enumerate(said[path]):
                if line.startswith(('ValueError ', 'OSError ')):
                    assert path in line
                    refused[kind] += 1
                elif kind not in ('forged', 'bombs'):      # these say something else, or a part of them is good
                    assert line in [lines[what] for lines in whole] + ['{}'] * (what == 1), path
    assert all(refused[kind] > len(some) for kind, some in made.items()), refused
