"""Measure training steps of CharLSTM, in C and in NumPy without a compiler, beside PyTorch's nn.LSTM and RMSprop.

    python tests/benchmarks/training.py [--units 128 256] [--batches 50] [--no-numpy] [--clang] [--bfloat16] [--peers]
    python tests/benchmarks/training.py --device cuda [--units 256 512 1024] [--batches 25]

All take turns, each in a separate process. They begin with the same parameters, and unless the costs of their first
steps agree, nothing is timed. --clang adds CharLSTM compiled by clang++, and --bfloat16 with that precision, and
PyTorch with its autocast to it. --embedding adds PyTorch with an embedding in place of one-hot vectors: another model,
with a smaller product. --peers adds JAX, and Keras on TensorFlow, without and with XLA, and on JAX. A turn has several
steps, since the first ones warm up threads and caches. Every number is from the median step. The share of the peak is
6 x the multiply-adds of a forward step, divided by the time and by the speed of the fastest product of matrices
(2048, 2048) in the same precision, of NumPy's, PyTorch's and the kernel's.

--device compares, on a device of PyTorch, CharLSTM, plain and with the default recipe of train.py, PyTorch's nn.LSTM,
and CharLSTM's loop over steps, as for other cells: on CUDA compiled and recorded, and operation by operation (eager).
"""
import argparse
import functools
import itertools
import os
import sys
from statistics import median

from common import (ALPHABET, Worker, print_head, refuse_other_costs, set_parameters, stacked_parameters, table,
                    timed)

TURN, TURN_STEPS = 0.2, 3  # least seconds and steps of a turn
TURNS = 5                  # least turns of each side
STEPS = 49                 # T: characters read in a sequence of 50
COMPARED = 4               # steps of each side, whose costs are compared
RECIPE = dict(dropout=0.13, dropconnect=0.09, smoothing=0.001, ar=2, tar=2, reset=0.05, average=0.999, momentum=0.9,
              weight_decay=0.02, grad_clip=5, step_clip=2)
RATE, DECAY = 2e-4, 0.95   # of RMSprop; the rate is so low that rounding errors do not grow
V = len(ALPHABET)
N = 2048                   # of the product that gives the sgemm peak


def make_batches(batch):
    """Return batches (x, y) of random characters, each int64 (T,B), endlessly."""
    import numpy as np
    sequences = np.random.default_rng(1).integers(V, size=(4, STEPS + 1, batch))
    return itertools.cycle([(s[:-1], s[1:]) for s in sequences])


def in_turns(step):
    """Return a function that returns the seconds of each step in a turn. Its attribute found: the first steps' costs.

    step: a function that returns a cost.
    """
    def turn():
        seconds = []
        while sum(seconds) < TURN or len(seconds) < TURN_STEPS:
            seconds += timed(step)
        return seconds
    turn.found = [step() for _ in range(COMPARED)]         # the first one also compiles
    return turn


def make_ours(units, batch, precision='float32', cxx=None, device=None, loop=False, eager=False, **lp):
    """Return a turn of CharLSTM. cxx: the compiler, '' for none, None for the default one. lp: for model_setup."""
    if cxx is not None:
        os.environ['THEANO_FLAGS'] = f'{os.environ.get("THEANO_FLAGS", "")},cxx={cxx}'
    import charlstm
    batches = make_batches(batch)
    model = charlstm.CharLSTM(random_seed=1, precision=precision, device=device)
    if eager:
        from engine.graph import in_torch
        in_torch.in_one_kernel = lambda function, name: function
        in_torch.Step.EAGER = float('inf')
    model.model_setup(char_dim=V, num_units1=units, num_units2=units, lrate=RATE, bptt_maxdepth=-1, **lp)
    set_parameters(model)
    if loop:
        from engine.model.compile import operations
        operations(model).in_one_call = False
    return in_turns(lambda: model.theano_train_rmsprop(*next(batches))[0])


def make_pytorch(units, batch, autocast=False, device='cpu', embedded=0):
    """embedded: the numbers of a character in an embedding, whose product with U is smaller; 0: one-hot vectors."""
    import torch
    from torch import nn
    batches, p = make_batches(batch), stacked_parameters(V, units)
    one_hot = nn.Embedding.from_pretrained(torch.eye(V))                           # frozen: only copies rows
    lstm, output = nn.LSTM(embedded or V, units, num_layers=2), nn.Linear(units, V)
    for second_bias in (lstm.bias_hh_l0, lstm.bias_hh_l1):                         # which only PyTorch has
        second_bias.requires_grad_(False).zero_()
    trained = [weights for weights in (*lstm.parameters(), *output.parameters()) if weights.requires_grad]
    with torch.no_grad():
        for weights, array in zip(trained, p.values()):
            if weights.shape == array.shape:               # not U1 after an embedding
                weights.copy_(torch.from_numpy(array))
    if embedded:
        one_hot = nn.Embedding(V, embedded)
        trained.append(one_hot.weight)
    for module in (one_hot, lstm, output):
        module.to(device)
    rule = torch.optim.RMSprop(trained, lr=RATE, alpha=DECAY, eps=1e-8)

    def step():
        x, y = [torch.from_numpy(each).to(device) for each in next(batches)]
        rule.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            h, _ = lstm(one_hot(x))                                                # (T, B, H)
            scores = output(h.flatten(0, 1))
        cost = nn.functional.cross_entropy(scores.float(), y.flatten())
        cost.backward()
        rule.step()
        return cost.item()
    return in_turns(step)


def make_keras(units, batch, backend, compiled):
    """Both cells are in one RNN, which is faster than two LSTM layers. compiled: by XLA, without which JAX is slow."""
    os.environ.update(KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL='2')
    import keras
    import numpy as np
    from keras import layers
    batches = ((x.T, y.T) for x, y in make_batches(batch))
    model = keras.Sequential([
        layers.Input((STEPS,), batch_size=batch, dtype='int32'),
        layers.Embedding(V, V, trainable=False),                                   # one-hot
        layers.RNN([layers.LSTMCell(units), layers.LSTMCell(units)], return_sequences=True),
        layers.Dense(V)])
    model.set_weights([np.eye(V), *[array.T for array in stacked_parameters(V, units).values()]])
    model.compile(keras.optimizers.RMSprop(RATE, rho=DECAY, epsilon=1e-16),        # which is added inside the root
                  keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=compiled)
    return in_turns(lambda: float(model.train_on_batch(*next(batches))))


def make_jax(units, batch):
    """One scan runs both layers, which is faster than a scan for each with all products of its input made before."""
    import jax
    import jax.numpy as jnp
    batches = make_batches(batch)
    p = {name: jnp.array(array.T) for name, array in stacked_parameters(V, units).items()}
    squares = jax.tree.map(jnp.zeros_like, p)

    def cell(a, C):
        i, f, g, o = jnp.split(a, 4, axis=1)                                       # (B, H)
        C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(C), C

    def cost(p, x, y):
        def both_layers(states, a):
            h1, C1, h2, C2 = states
            h1, C1 = cell(a + h1 @ p['W1'], C1)
            h2, C2 = cell(h1 @ p['U2'] + h2 @ p['W2'] + p['b2'], C2)
            return (h1, C1, h2, C2), h2
        zeros = jnp.zeros((batch, units))
        _, h = jax.lax.scan(both_layers, (zeros,) * 4, p['U1'][x] + p['b1'])       # (T, B, H)
        logs = jax.nn.log_softmax(h @ p['V'] + p['c'])
        return -jnp.take_along_axis(logs, y[:, :, None], axis=2).mean()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def learn(p, squares, x, y):
        value, gradients = jax.value_and_grad(cost)(p, x, y)
        squares = jax.tree.map(lambda m, g: DECAY * m + (1 - DECAY) * g ** 2, squares, gradients)
        p = jax.tree.map(lambda p, m, g: p - RATE * g / (jnp.sqrt(m) + 1e-8), p, squares, gradients)
        return p, squares, value

    def step():
        nonlocal p, squares
        p, squares, value = learn(p, squares, *next(batches))
        return float(value)
    return in_turns(step)


def make_product(library, bfloat16=False):
    """Return a function that returns the seconds of the fastest of three products of N x N matrices."""
    import numpy as np
    a, b = np.random.default_rng(1).standard_normal((2, N, N), dtype=np.float32)
    if library == 'numpy':
        return lambda: min(timed(lambda: np.dot(a, b), 4)[1:])
    if library == 'kernel':
        import charlstm
        from engine.model.compile import operations
        model = charlstm.CharLSTM(precision='bfloat16' if bfloat16 else 'float32')
        model.model_setup(char_dim=V, num_units1=1)
        arrays = a, b, np.empty_like(a)                      # the function knows only their addresses
        multiply = operations(model).library.product(*arrays)
        return lambda arrays=arrays: min(timed(multiply, 4)[1:])
    import torch
    a, b = [torch.from_numpy(x).to(torch.bfloat16 if bfloat16 else torch.float32) for x in (a, b)]
    return lambda: min(timed(lambda: torch.mm(a, b), 4)[1:])


def take_turns(workers, turns, steps):
    """Return the median seconds per step and the peak memory of each worker by name, and end the workers.

    turns, steps: the least number of them.
    """
    for worker in workers.values():
        worker()                                                                   # warms
    seconds = {name: [] for name in workers}
    while turns > 0 or min(map(len, seconds.values())) < steps:
        turns -= 1
        for name, worker in workers.items():
            seconds[name] += worker()
    return {name: (median(seconds[name]), worker.close()) for name, worker in workers.items()}


def measure(units, batch, options):
    """Return the median seconds and the peak memory of each, by name."""
    sides = {'ours': (make_ours,), 'PyTorch': (make_pytorch,)}
    if options.embedding:
        sides['embedding'] = make_pytorch, False, 'cpu', 32
    if options.clang:
        sides['clang'] = make_ours, 'float32', 'clang++'
    if options.bfloat16:
        sides.update({'bfloat16': (make_ours, 'bfloat16'), 'PT bf16': (make_pytorch, True)})
    if options.numpy:
        sides['NumPy'] = make_ours, 'float32', ''
    if options.peers:
        sides.update({'Keras, TF': (make_keras, 'tensorflow', False), 'Keras, XLA': (make_keras, 'tensorflow', True),
                      'Keras, JAX': (make_keras, 'jax', True), 'JAX': (make_jax,)})
    workers = {name: Worker(make, units, batch, *more) for name, (make, *more) in sides.items()}
    costs = {name: worker.ready() for name, worker in workers.items()}
    refuse_other_costs({name: found for name, found in costs.items() if name != 'embedding'})      # another model
    return take_turns(workers, TURNS, options.steps)


def on_device(options):
    """Print the table of a device."""
    from engine.graph.in_torch import described
    print(f'on {described(options.device)}\n')
    ours = functools.partial(make_ours, device=options.device)
    sides = {'ours': ours, 'with the recipe': functools.partial(ours, **RECIPE),
             'nn.LSTM': functools.partial(make_pytorch, device=options.device.removeprefix('torch:')),
             'loop': functools.partial(ours, loop=True), 'loop, eager': functools.partial(ours, loop=True, eager=True)}
    row = table('units', 'batch', '           side', 'characters/s', 'of the speed of nn.LSTM')
    for units, batch in itertools.product(options.units, options.batches):
        workers = {name: Worker(make, units, batch) for name, make in sides.items()}
        costs = {name: worker.ready() for name, worker in workers.items()}
        refuse_other_costs({name: costs[name] for name in costs if 'recipe' not in name})
        found = take_turns(workers, TURNS, options.steps)
        for name, (seconds, _) in found.items():
            row(units, batch, name, f'{STEPS * batch / seconds:,.0f}', f'{found["nn.LSTM"][0] / seconds:.2f}')


def print_table(results, peaks):
    """Print the table. results: (units, batch) to what measure returned. peaks: flops a second by precision."""
    row = table('units', 'batch', '      side', 'characters/s', 'ours over it', 'bfloat16 over it', 'share of the peak',
                'peak memory, MB')
    for (H, batch), result in results.items():
        flops = 6 * (3 * 4 * H * H + V * H) * STEPS * batch      # W1, U2, W2 and the output; U1 is only looked up
        for name, (seconds, memory) in result.items():
            row(H, batch, name, f'{STEPS * batch / seconds:,.0f}',
                *[f'{seconds / result[each][0]:.2f}' if each in result else '' for each in ('ours', 'bfloat16')],
                f'{flops / seconds / peaks["bf" in name]:.2f}', f'{memory / 1e6:,.0f}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--units', type=int, nargs='+', default=[64, 128, 256, 512])
    parser.add_argument('--batches', type=int, nargs='+', default=[1, 50, 200])
    parser.add_argument('--steps', type=int, default=15, help='least number of timed steps (default: %(default)s)')
    parser.add_argument('--no-numpy', dest='numpy', action='store_false', help='leave out CharLSTM without a compiler')
    parser.add_argument('--clang', action='store_true', help='add CharLSTM compiled by clang++')
    parser.add_argument('--bfloat16', action='store_true', help='add both sides with products in bfloat16')
    parser.add_argument('--peers', action='store_true', help='add Keras on TensorFlow and on JAX, and JAX')
    parser.add_argument('--embedding', action='store_true', help='add PyTorch with an embedding of 32 numbers')
    parser.add_argument('--device', help='compare on this device of PyTorch, such as cuda')
    options = parser.parse_args()
    print_head('torch', *['tensorflow-cpu', 'keras', 'jax'] * options.peers)
    if options.device:
        return on_device(options)
    kinds = [('numpy', False), *[(library, bfloat16) for library in ('torch', 'kernel')
                                 for bfloat16 in (False, True)[:1 + options.bfloat16]]]
    products = {kind: Worker(make_product, *kind) for kind in kinds}
    for product in products.values():
        product.ready()
    peaks, results = {}, {}
    for units in options.units:
        for (_, bfloat16), product in products.items():
            peaks[bfloat16] = max(2 * N ** 3 / product(), peaks.get(bfloat16, 0))
        for batch in options.batches:
            print(f'units {units}, batch {batch} ...', file=sys.stderr)
            results[units, batch] = measure(units, batch, options)
    print_table(results, peaks)
    print()
    for bfloat16, peak in peaks.items():
        print(f'peak of {"bfloat16" if bfloat16 else "sgemm"}: {peak / 1e9:.0f} GFLOP/s')


if __name__ == '__main__':
    main()
