"""What Windows lacks, taken away here: signals, locks, flags, and changes to files that are open.

Nothing else of Windows is tested: its compilers, Theano's import on it, its shells.
"""

from scripts import PRODUCE, ROOT, STATEFUL, assert_refused, run, succeeded

# Runs a script without the calls. A path that is open in this process can be neither renamed, replaced nor removed.
AS_ON_WINDOWS = '''
import glob, os, runpy, signal, sys
sys.modules.update(fcntl=None, resource=None)
for owner, names in ((os, 'O_NOFOLLOW sched_getaffinity geteuid getuid'), (signal, 'SIGUSR1 SIGHUP')):
    for name in names.split():
        delattr(owner, name)
def unless_open(change):
    def changed(*paths, **more):
        is_open = {os.path.realpath(link) for link in glob.glob('/proc/self/fd/*')}
        if is_open & {os.path.realpath(path) for path in paths}:
            raise PermissionError(13, 'The process cannot access the file because it is being used')
        return change(*paths, **more)
    return changed
for name in 'rename', 'replace', 'remove', 'unlink':
    setattr(os, name, unless_open(getattr(os, name)))
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name='__main__')
'''


def test_scripts_train_resume_write_and_refuse(with_text):
    train, more = [AS_ON_WINDOWS, ROOT / 'train.py', 't.txt', 'r', *STATEFUL, '--output-dir', '.'], dict(cwd=with_text)
    succeeded(run('-c', *train, '--epochs', 1, **more))
    assert 'resuming after epoch 1' in succeeded(run('-c', *train, '--epochs', 2, '--resume', 'last', **more))
    assert_refused(run('-c', *train, **more), 'r_t.txt.out exists already')
    assert 'epoch 1/1' in succeeded(run('-c', *train, '--epochs', 1, '--overwrite', **more))
    page = run('-c', AS_ON_WINDOWS, PRODUCE, 'r_t.txt_best.npz', '--page', 'a.html', **more)
    assert page.returncode == 0 and (with_text / 'a.html').exists(), page.stderr
    assert sorted(path.suffix for path in with_text.iterdir() if path.suffix in ('.npz', '.part')) == ['.npz', '.npz']
