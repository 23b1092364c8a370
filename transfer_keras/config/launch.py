"""Start and end of a program.

Everything here runs before TensorFlow is imported (that takes seconds), so that `--help` and
every error in a flag come at once.
"""

import contextlib
import io
import math
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping

from absl import app, flags, logging

from transfer_keras.config.choices import TF_CONFIG
from transfer_keras.config.environment import check_keras_file, set_environment
from transfer_keras.config.errors import Interrupted, StoppedAtOnce, UserError, WorkerLost
from transfer_keras.config.escaping import visible
from transfer_keras.config.failures import describe_os_error, is_out_of_memory
from transfer_keras.config.paths import why_no_text
from transfer_keras.config.screen import prepare_streams
from transfer_keras.config.text import one_line

FLAGS = flags.FLAGS
# Exit statuses after a signal: nothing is lost (EX_TEMPFAIL of sysexits.h); what was done since the
# last checkpoint is.
STOPPED, STOPPED_AT_ONCE = 75, 130
LOST = 69  # EX_UNAVAILABLE: another machine is gone.
_KEPT = "What is finished and the last checkpoint are kept; run the same command to go on."
# What makes a program take less memory, where it has the flag.
_LESS_MEMORY = ("batch_size", "image_size", "group_size", "group_memory")


def start(
    main: Callable[[], None],
    defaults: Mapping[str, object] | None = None,
    *,
    kept: str = _KEPT,
    uses_keras: bool = True,
) -> None:
    """Parses the flags, calls main, and turns a user's mistake into one line and status 2.

    Args:
        main: the program, without arguments.
        defaults: flag -> its default in this program, where that is not the usual one.
        kept: what a person is told is left after Ctrl-C, or where a file cannot be written.
        uses_keras: whether main imports Keras, so that its file of settings matters.
    """
    prepare_streams()
    logging.get_absl_handler().python_handler.stream = sys.stderr
    for name, value in (defaults or {}).items():
        FLAGS.set_default(name, value)
    set_environment()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # As Ctrl-C.

    def guarded(arguments):
        if len(arguments) > 1:
            _refuse(f"unexpected arguments: {' '.join(arguments[1:])}. Every setting is a flag.")
        if not FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # TFDS says much at the level of INFO.
        try:
            if uses_keras:
                check_keras_file()
            main()
            sys.stdout.flush()  # Where it is a file, its disk may be full.
        except UserError as error:
            _refuse(str(error))
        except WorkerLost as error:
            _exit_with(
                f"Another machine of this training is gone ({error}). Run the same command on all "
                "of them again to go on from the last checkpoint.",
                LOST,
            )
        except OSError as error:
            _refuse(f"{describe_os_error(error, _given_paths())} {kept}")
        except Interrupted as error:
            _exit_with(f"Stopped at {error}. Run the same command to go on from there.", STOPPED)
        except StoppedAtOnce:
            _exit_with(f"\nStopped at once. {kept}", STOPPED_AT_ONCE)
        except KeyboardInterrupt:  # Between trainings, when there is nothing to save.
            _exit_with(f"\nStopped. {kept}", STOPPED)
        except Exception as error:
            if is_out_of_memory(error):
                smaller = [f"--{name}" for name in _LESS_MEMORY if name in FLAGS]
                _refuse(
                    f"the memory does not suffice ({one_line(error, 200)}). Give a smaller "
                    f"{' or '.join(smaller) or 'network'}. {kept}"
                )
            traceback.print_exc()
            _end(1)

    app.run(guarded, flags_parser=_parse)


def _parse(arguments):
    warnings = io.StringIO()
    try:
        with contextlib.redirect_stderr(warnings):
            remaining = FLAGS(arguments)
        _check_values(FLAGS[name] for name in FLAGS)
    except UnicodeDecodeError as error:
        _refuse(f"--flagfile: not a text file in UTF-8 ({error}). Expected a flag a line.")
    except RecursionError:
        _refuse("--flagfile: too many files that name one another. Expected a flag a line.")
    except (flags.Error, ValueError) as error:
        message = one_line(error).removeprefix("ERROR:: ").removeprefix("flag ")
        _refuse(
            f"{message}. See --help." if not message.endswith(".") else f"{message} See --help."
        )
    except SystemExit:  # After --help.
        sys.stderr.write(warnings.getvalue())
        raise
    if said := one_line(warnings.getvalue()):  # A flagfile that names itself.
        _refuse(f"--flagfile: {said.removeprefix('Warning: ')}. Expected a flag a line.")
    return remaining


def _check_values(given: Iterable[flags.Flag]) -> None:
    """Checks what no program can use, whatever the flag is.

    Raises:
        UserError: if a value would not be the same when it is read from a file of flags, or is a
            number that is none.
    """
    for flag in given:
        if not flag.present:
            continue
        values = flag.value if isinstance(flag.value, list | tuple) else (flag.value,)
        for value in values:
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"--{flag.name}={value}: expected a finite number.")
            if isinstance(value, int) and abs(value) >= 2**63:
                raise UserError(f"--{flag.name}={value}: expected a number below 2^63.")
            if isinstance(value, str) and (why := why_no_text(value)):
                raise UserError(f"--{flag.name}={value}: {why}.")


def _given_paths() -> dict[str, str]:
    """Maps flags whose values may be paths to these values."""
    return {name: FLAGS[name].value for name in FLAGS if isinstance(FLAGS[name].value, str)}


def _refuse(message: str) -> None:
    program = pathlib.Path(sys.argv[0]).stem
    _exit_with(f"{program}: {visible(one_line(message))}", 2)


def _exit_with(message: str, status: int) -> None:
    with contextlib.suppress(OSError):  # Nobody may be there to read it.
        sys.stdout.flush()  # Where both go to one file, this is the last line.
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr)
    _end(status)


def _end(status: int) -> None:
    if TF_CONFIG not in os.environ:
        sys.exit(status)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)  # At an orderly end TensorFlow waits for the others, and they for this one.
