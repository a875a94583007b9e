"""The options of train.py and of CharLSTM.fit."""
from engine.commands import spelled

CHANGEABLE = ('epochs', 'save_every', 'patience')              # of a resumed run; its lrate may only become smaller

# Rows of name, kind, default, help. model_setup gets the options that have the names of its parameters: for a new
# learning parameter, add a row here and a range in engine/checks.py.
OPTIONS = {
    'text': [
        ('batch-size', int, 50, 'sequences in a batch'),
        ('seq-length', int, 50, 'characters in a sequence'),
        ('ratio-valid', float, 0.3, 'share of the text, at its end, kept for validation'),
        ('valid', 'FILE', None, 'text to validate with, a file or a folder: all of the input is then learned from; it '
                                'is also scored at the end as with --test (default: the end of the input)'),
        ('test', 'FILE', None, 'text to test with, a file or a folder: it is scored once, as one stream, with the best '
                               'model of the finished run; before that, only its vocabulary is used: a model has the '
                               'characters of all its texts'),
        ('test-adapt', bool, False, 'score the test text also with a copy of the model that learns from it as it '
                                    'reads, as --adapt of produce_text.py does'),
        ('encoding', 'NAME', 'utf-8', 'encoding of the text files'),
        ('no-stateful', bool, False, 'start every batch from zero states, as the original does, instead of reading '
                                     'each long piece of the text from batch to batch')],
    'model': [
        ('num-units1', int, None, 'units of layer 1 (default: 256, or those of --init)'),
        ('num-units2', int, None, 'units of layer 2 (default: those of layer 1)'),
        ('initial', ('original', 'hidden'), 'hidden', 'initial values, by the number of inputs or of units'),
        ('dropout', float, None, 'share of the units that each training step leaves out (default: by the length of the '
                                 'text and the number of units)'),
        ('dropconnect', float, None, 'share of the recurrent weights that each training step leaves out (default: two '
                                     'thirds of --dropout)'),
        ('smoothing', float, 0.001, 'share of each target that is spread over all characters while training, so that '
                                    'the model is not too sure; costs are printed without it'),
        ('ar', float, 2.0, 'weight, in the cost while training, of the mean square of the outputs of layer 2, which '
                           'keeps them small (activation regularisation); costs are printed without it'),
        ('tar', float, 2.0, 'the weight of the mean square of their change from step to step, in the same way '
                            '(temporal activation regularisation)'),
        ('reset', float, 0.05, 'probability that a stream starts a batch from zero states'),
        ('average', float, 0.999, 'weight at each step of the running average of the parameters, which is validated, '
                                  'saved and used to write; 0: the parameters themselves'),
        ('kernel', ('on', 'off'), 'on', 'off: theano.scan instead of the C kernel, to compare, many times slower'),
        ('precision', ('float32', 'bfloat16'), 'float32',
         'bfloat16: products of rounded numbers, summed in float32, which is faster on some processors: on one with '
         'AMX, large models train in less than half of the time'),
        ('random-seed', int, None, 'whole number that makes a run repeatable (default: a new one each time, which is '
                                   'printed and stored)')],
    'learning': [
        ('lrate', float, None, 'learning rate (default: 3 divided by the units of the larger layer, so 0.012 for 256, '
                               'and at most 0.024)'),
        ('warmup', int, 100, 'steps in which the rate rises to --lrate'),
        ('anneal', float, 0.5, 'share of all epochs, the last ones, in which the rate falls to a twentieth of --lrate'),
        ('lrate-decay', float, 1.0, 'factor on the rate at each epoch from --lrate-decay-epoch on'),
        ('lrate-decay-epoch', int, 10, 'first epoch with a smaller rate'),
        ('drate', float, 0.99, 'decay of the running averages of RMSprop'),
        ('eps', float, 1e-8, 'added to the divisor of RMSprop'),
        ('grad-clip', float, 5.0, 'largest norm of the gradient; 0: any'),
        ('step-clip', float, 2.0, 'largest step of RMSprop for a number, as a multiple of the learning rate; 0: any'),
        ('bptt-maxdepth', int, 50, 'steps at the end of each sequence that are learned from; -1: all'),
        ('l1', float, 0.0, 'weight of the sum of absolute parameters'),
        ('l2', float, 0.0, 'weight of the sum of squared parameters')],
    'run': [
        ('epochs', int, None, 'times to read the training text (default: 40, and more for a short text)'),
        ('patience', int, None, 'after N epochs without a better validation cost let the rate fall early or, where it '
                                'falls already or never, end the run; 0: never (default: 6, and more for a short '
                                'text)'),
        ('valid-every', int, 10, 'training steps between costs of a validation batch, each of which takes a third of '
                                 'the time of a step'),
        ('save-every', int, None, 'epochs between checkpoints (default: 10, and more in a run of over 1,000 epochs)'),
        ('original', bool, False, 'the recipe of 2016: 75 epochs of batches from zero states, at a rate of 0.002 that '
                                  'decays by 0.97 from epoch 10 on, and nothing that came later; the log of the steps '
                                  'is as that program wrote it (engine/README.md has what is still different)'),
        ('output-dir', 'DIR', None, 'folder for the results (default: training_results beside this script)'),
        ('overwrite', bool, False, 'replace the results of an earlier run of this name'),
        ('init', 'PARAMS', None, 'start from the parameters of this checkpoint, of any text'),
        ('resume', 'PARAMS', None, 'resume the run of this checkpoint as if it had never stopped; "last": of the '
                                   'newest checkpoint of this run or, if there is none, begin it. Its options stay: '
                                   'only ' + ', '.join(map(spelled, CHANGEABLE)) +
                                   ' may change, and --lrate become smaller')]}
DEFAULTS = {name.replace('-', '_'): default for rows in OPTIONS.values() for name, _, default, _ in rows}
DEFAULTS.update(input=None, run='run0')
