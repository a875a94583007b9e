"""Train on a text: python train.py [input] [run]; resume a run: python train.py --resume PARAMS"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["Theano==1.0.5", "numpy>=2.0", "scipy", "matplotlib", "tqdm"]
# [tool.uv.sources]
# Theano = { path = "engine/backend/theano_wheel" }
# ///
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))        # python -I leaves it out

from engine import parallel, terminal
from engine.run import table


def build_parser():
    """Return the parser of the command line. Its result has only the options that were typed."""
    parser = terminal.Parser(
        argument_default=argparse.SUPPRESS, usage='%(prog)s [OPTIONS] [input] [run]',
        description='Train a model to write text, character by character. Its files are called <run>_<input>...')
    parser.add_argument('input', nargs='?', help='text file, or folder of .txt files (default: Pride and Prejudice)')
    parser.add_argument('run', nargs='?', help='name of this run (default: the first new one of run0, run1 ...)')
    parser.add_options(table.OPTIONS, table.FIRST)
    return parser


def learn(model, run, group):
    """Train a model until the schedule of its Run is finished or the process group agrees to stop."""
    from engine.run.results import EARLY, INTERRUPTED
    from engine.run.schedule import Diverged, Epoch, Step, Validated, timed
    schedule, epochs, first, start = run.schedule, run.options.epochs, run.schedule.step, time.time()
    early = not (schedule.epoch or run.options.original)   # whether to sample before the end of a long first epoch
    while not (schedule.finished or group.stop_agreed):
        try:
            for event in timed(model, schedule):
                match event:
                    case Step(cost, ratios):
                        run.logs.step(schedule, cost, ratios)
                        run.bar.desc = (f'epoch {schedule.epoch + 1}/{epochs}, cost {cost:.3f}, '
                                        f'valid {schedule.valid_batch_cost:.3f}')
                        run.bar.update(1)
                        if early and time.time() - start > EARLY:
                            run.sample(f'{schedule.batch:,} of the {schedule.batches:,} steps of epoch 1')
                            early = False
                    case Validated():
                        run.bar.desc = f'epoch {schedule.epoch + 1}/{epochs}, validating'
                        run.bar.update(0)
                    case Epoch():
                        run.end_epoch(event, time.time() - start)
                        start, early = time.time(), False
                if schedule.epochs < epochs:
                    epochs = schedule.epochs
                    run.bar.total = epochs * schedule.batches - first
                    run.say(f'no better validation cost in {run.options.patience} epochs: the rate falls early, and '
                            f'the run ends by epoch {epochs}')
                if group.stop_agreed:
                    break
        except Diverged as error:
            run.fall_back(error)
            start, epochs = time.time(), schedule.epochs
            run.bar.n, run.bar.total = schedule.step - first, epochs * schedule.batches - first        # to repeat
    if not schedule.finished:
        run.say(f'interrupted in epoch {schedule.epoch + 1}')
        run.save(INTERRUPTED)
    elif schedule.out_of_patience:
        run.say(f'no better validation cost in {schedule.stale} epochs: the run ends')


def program(arguments):
    """Run the whole program with arguments from the command line. Return the exit status."""
    from engine.run import options, recipe
    from text_input.fetch_novel import locate_text
    group = parallel.join()
    o, checkpoint = group.broadcast(options.choose, vars(arguments), locate_text)
    progress, sources = (checkpoint.metadata['progress'], checkpoint.sources) if o.resume else ({}, {})
    print(f'reading {o.input}', flush=True)
    from charlstm import CharLSTM                          # imports Theano, which takes a second
    from engine.model import fit
    from engine.run import results, schedule as schedules
    model = terminal.load_class(o.cell, CharLSTM)(o.random_seed, o.kernel == 'on', group, o.precision, o.device)
    o.precision = model.precision                          # no longer auto
    parameters = fit.set_up(model, o)
    schedule = schedules.Schedule.resumed(o, progress, model.n_batches['train'])
    run = results.Run(model, schedule)
    group.broadcast(run.check, sources)
    if progress:
        model.resume(checkpoint)
        print(f'resuming after epoch {progress["epoch"]}, batch {progress["batch"]}')
    run.baselines = recipe.compare(model.text)
    print(o.summary(parameters, model.n_batches['valid'] > 0))
    print(f'computes on {model.computes_on()}')
    if not schedule.finished:
        start = time.time()
        how = '' if model.kernel else ' by Theano alone, for half a minute or less'
        print(f'compiling the functions of this model{how}, once ...', flush=True)
        model.compile('train_rmsprop', 'texts', 'check')
        print(f'compiled in {time.time() - start:.1f} s', flush=True)
    with run.open():
        steps = schedule.epochs * schedule.batches - schedule.step
        with terminal.stopped_by_signals(group), terminal.bar(steps, 'training', 'steps') as run.bar:
            learn(model, run, group)
        run.conclude()
    return terminal.EXIT_INTERRUPTED if group.stop_agreed else 0


if __name__ == '__main__':
    terminal.main(build_parser(), program)
