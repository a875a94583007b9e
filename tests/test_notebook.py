"""The lesson's notebook, shortened, with an interrupt."""
import json
import re

from jupyter_client import KernelManager

from scripts import ROOT, environment

LESSON = ROOT / 'engine' / 'lesson' / 'lesson.ipynb'
SHORT = ('EPOCHS = 20', 'EPOCHS = 1'), ("recipe='small', ", "recipe='small', batch_size=5, seq_length=10, ")


def execute(manager, client, source, interrupt_at=None):
    """Run a cell. Return its output as a notebook shows it, the number of pictures, and the name of its error or None.

    interrupt_at: a pattern; once it is in the output, interrupt the kernel. (During the first line of a bar, tqdm does
    not know yet how much to remove.)
    """
    written, pictures, failed = '', 0, None
    sent = client.execute(source)
    while True:
        message = client.get_iopub_msg(timeout=120)
        if message['parent_header'].get('msg_id') != sent:
            continue
        kind, content = message['msg_type'], message['content']
        if kind == 'stream':
            written += content['text']
        pictures += kind == 'display_data' and 'image/png' in content['data']
        if kind == 'error':
            failed = content['ename']
        if interrupt_at and re.search(interrupt_at, written):
            manager.interrupt_kernel()
            interrupt_at = None
        if kind == 'status' and content['execution_state'] == 'idle':
            return shown(written), pictures, failed


def shown(written):
    """Return text as a notebook shows it: after a carriage return, a line is written over."""
    lines = []
    for line in written.split('\n'):
        seen = ''
        for part in line.split('\r'):
            seen = part + seen[len(part):]
        lines.append(seen.rstrip())
    return '\n'.join(lines)


def test_notebook_with_an_interrupt(tmp_path):
    """Training is interrupted behind its bar, which one line says, and continues when its cell is run again.

    Run once more after its last epoch, the cell shows the same.
    No line of a bar stays, and each figure is one picture. Its outputs are stored.
    """
    cells = json.loads(LESSON.read_text(encoding='utf-8'))['cells']
    sources = [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']
    stored = json.dumps([cell['outputs'] for cell in cells if cell['cell_type'] == 'code'])
    assert stored.count('"image/png"') == 5 and stored.count('all epochs are done') == 3 and '"error"' not in stored
    at = sources.index("train('LSTM', model)")
    manager = KernelManager()
    manager.start_kernel(cwd=str(LESSON.parent), env=environment(PYTHONPATH='', IPYTHONDIR=str(tmp_path)))
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=120)
        outputs = []
        for k, source in enumerate(sources[:at + 1] + [sources[at]] + sources[at:]):
            for old, new in SHORT:
                source = source.replace(old, new)
            outputs.append(execute(manager, client, source, r'(\repoch 1/1: +\d+%\|.*){2}' if k == at else None))
            assert outputs[-1][2] is None, outputs[-1]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    texts, pictures, _ = zip(*outputs)
    assert texts[at].strip().split('\n')[-1] == 'interrupted: run this cell again to continue'
    assert [k for k, count in enumerate(pictures) for _ in range(count)] == [10, 11, 14, 17, 19, 22]
    assert [k for k, text in enumerate(texts) if 'epoch 1: cost ' in text] == [10, 11, 14, 22]
    assert re.search(r'da_f .*: right\nda_i 0.0+, measured .*: wrong\n', texts[4])
    assert re.search(r'da_f is 0.0+ at \[0, 0\]: expected ', texts[5])
    assert not re.search(r'%\|', ''.join(texts)), texts
    long, short = [max(map(len, text.split('\n'))) for text in texts[20].split('--- ')[1:]]
    assert long > 2 * short                                # lines, while the unit that counts them is held low and high
