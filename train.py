"""Learn a text: python train.py [input] [run]; resume a run: python train.py --resume PARAMS"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["Theano==1.0.5", "numpy>=2.0", "scipy", "matplotlib", "tqdm"]
# [tool.uv.sources]
# Theano = { path = "engine/backend/theano_wheel" }
# ///
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))        # where python -I does not look

from engine.terminal import end_at_once

if __name__ == '__main__':
    end_at_once()           # before imports that take a while

import argparse
import time

from engine import parallel as process_group
from engine.run import table
from engine.terminal import EXIT_INTERRUPTED, StopRequest
from engine.own_class import make_model
from engine.terminal import ProgressBar, duration
from engine.run.result import to_score
from engine.run.schedule import Diverged, Schedule
from engine.terminal import Parser, main, nats_and_bits, raise_again, script


def build_parser():
    """Return the parser of the command line; its result has only the options that were typed."""
    parser = Parser(
        argument_default=argparse.SUPPRESS,
        description='Learn to write text by reading one, character by character. Writes checkpoints, logs, samples and '
                    'a picture of the costs, under names that begin <run>_<input file name>.')
    parser.add_argument('input', nargs='?', help='text file to learn, or folder of text files, which are joined in the '
                                                 'order of their paths (default: text_input/prideandprejudice.txt, '
                                                 'which is fetched if it is missing)')
    parser.add_argument('run', nargs='?', help='name of this run (default: run0)')
    parser.add_options(table.OPTIONS)
    return parser


def prepare(arguments, group):
    """Return the options of the run, its model, its Run, and the progress of the run that is resumed, or None.

    arguments: from the command line, by name.
    """
    from charlstm import CharLSTM                          # late: Theano takes a second to import
    raise_again()
    from engine.run.fit import set_up
    from engine.run.options import Options, check_texts
    from engine.run.recipe import advise
    from engine.run.run import Run
    from text_input.fetch_novel import locate_text
    o = Options(arguments)
    with o.chosen(locate_text, group) as (checkpoint, progress):
        model = make_model(o.cell, CharLSTM, o.random_seed, o.kernel == 'on', group, o.precision)
        parameters = set_up(model, o)
        run = Run(o.output_dir, o.run_name, o.resume, progress, group, o.cell, names=list(model.p),
                  passage=group.broadcast(model.passage), original=o.original)
        if progress:
            group.broadcast(check_texts, o, model, checkpoint)
            model.resume(checkpoint)
            print(f'resuming after epoch {progress["epoch"]}, batch {progress["batch"]}')
        run.check(o.overwrite, [o.input, o.valid, o.test, o.init])
        if not progress:
            advise(o, model)
        print(o.summary(parameters, model.n_batches['valid'] > 0), flush=True)
    return o, model, run, progress


def learn(run, bar, stop):
    """Read the training text, epoch after epoch, until the schedule is finished or the user stops it."""
    schedule = run.schedule
    if schedule.epochs < schedule.options.epochs:
        bar.line(f'the rate falls early in this run, which ends after epoch {schedule.epochs}')
    while not (schedule.finished or stop.agreed):
        try:
            for event in run.model.training(schedule):
                if hasattr(event, 'ratios'):
                    run.log_step(event.cost, event.ratios)
                    early = bar.step(schedule.epoch + 1, schedule.epochs, event.cost, schedule.valid_batch_cost,
                                     event.characters)
                    if early and not stop.agreed:
                        run.first_sample()
                elif event:
                    end_epoch(run, event, bar)
                    bar.begin_epoch()
                if stop.agreed:
                    break
        except Diverged as error:
            run.fall_back(error)
            bar.go_back(schedule.step)
    if schedule.out_of_patience:
        bar.line(f'no better validation cost in {schedule.stale} epochs; the best, '
                 f'{nats_and_bits(schedule.best_cost)}, is from epoch {schedule.best_epoch}')


def end_epoch(run, epoch, bar):
    """Log an Epoch, print what it brought, and save the model where the schedule says so."""
    schedule = run.schedule
    seconds = time.time() - bar.epoch_start
    run.log_epoch(epoch, seconds)
    run.sample()
    if schedule.best_epoch == schedule.epoch:              # after the logs were written, whose lengths it keeps
        run.save(run.BEST)
    if schedule.should_save:
        run.save(run.EPOCH.format(schedule.epoch))
    if schedule.should_report:
        run.draw()


def check_names(text=None, run=None):
    """Raise ValueError where a checkpoint or a run's name was typed in the place of the text, or the reverse."""
    for name in (text, run):
        if name is not None and name.lower().endswith('.npz') and os.path.isfile(name):
            raise ValueError(f'{name} is a checkpoint, not a text or the name of a run: --resume {name} continues its '
                             f'run, and --init {name} starts a new one from its parameters')
    if None not in (text, run) and os.path.isfile(run) and not os.path.exists(text):
        raise ValueError(f'{text} is no file, but {run} is one: the text comes first, and then the name of the run, as '
                         f'in {script("train.py", run, text)}')


def program(arguments):
    """Run the whole program; arguments: from the command line. Return the exit status."""
    group = process_group.join()
    group.broadcast(check_names, *[getattr(arguments, name, None) for name in ('input', 'run')])
    o, model, run, progress = prepare(vars(arguments), group)
    from engine.backend import bfloat16
    from engine.backend.theano_setup import computes_on
    in_c = model.runs_in_c()
    print(f'computes on {computes_on(in_c, bfloat16.instructions(o.precision))}', flush=True)
    print('compiling: some seconds the first time, about one after that ...' if in_c else
          'compiling: this may take minutes the first time, and less after that ...', flush=True)
    start = time.time()
    names = ['train_rmsprop', 'sample', 'check']
    if to_score(o):
        names.append('predict')
    with run.naming_checkpoint('while compiling; what is compiled is kept'):
        model.compile(*names)
    if 0 < group.mean(model.runs_in_c(), 1)[0] < 1:
        print('some processes compute by theano.scan, many times slower, and the others wait for them: do all machines '
              'have a C++ compiler?', flush=True)
    print(f'compiled in {duration(time.time() - start)}', flush=True)
    schedule = Schedule.resumed(o, progress or {}, model.n_batches['train'])
    run.follow(model, schedule)
    if schedule.rate_factor < 1:
        print(f'the run has diverged before: its rates are {schedule.rate_factor:g} of those by --lrate', flush=True)
    with run.open(), run.naming_checkpoint('at once: what came after is lost'), StopRequest(group) as stop:
        run.save_missing()
        bar = ProgressBar(schedule.batches, schedule.step)
        run.say = bar.line
        learn(run, bar, stop)
        if not schedule.finished:
            bar.line(f'interrupted in epoch {schedule.epoch + 1}')
            run.save(run.INTERRUPTED)
        bar.close()
        complete = run.conclude()
    run.print_results(complete)
    return EXIT_INTERRUPTED if stop.agreed or not complete else 0


if __name__ == '__main__':
    main(build_parser(), program)
