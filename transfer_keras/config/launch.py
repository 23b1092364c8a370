"""Start and end of a program.

Everything here runs before TensorFlow is imported (that takes seconds), so that `--help` and
every error in a flag come at once.
"""

import contextlib
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable, Mapping

from absl import app, flags, logging

from transfer_keras.config.choices import TF_CONFIG
from transfer_keras.config.environment import set_environment
from transfer_keras.config.errors import Interrupted, StoppedAtOnce, UserError, WorkerLost
from transfer_keras.config.text import one_line

FLAGS = flags.FLAGS
# Exit statuses after a signal: nothing is lost (EX_TEMPFAIL of sysexits.h); what was done since the
# last checkpoint is.
STOPPED, STOPPED_AT_ONCE = 75, 130
LOST = 69  # EX_UNAVAILABLE: another machine is gone.
_KEPT = "What is finished and the last checkpoint are kept; run the same command to go on."


def start(
    main: Callable[[], None],
    defaults: Mapping[str, object] | None = None,
    *,
    kept: str = _KEPT,
) -> None:
    """Parses the flags, calls main, and turns a user's mistake into one line and status 2.

    Args:
        main: the program, without arguments.
        defaults: flag -> its default in this program, where that is not the usual one.
        kept: what a person is told is left after Ctrl-C.
    """
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
            main()
        except UserError as error:
            _refuse(str(error))
        except WorkerLost as error:
            _exit_with(
                f"Another machine of this training is gone ({error}). Run the same command on all "
                "of them again to go on from the last checkpoint.",
                LOST,
            )
        except OSError as error:
            _refuse(f"{error}. Results that are finished are kept.")
        except Interrupted as error:
            _exit_with(f"Stopped at {error}. Run the same command to go on from there.", STOPPED)
        except StoppedAtOnce:
            _exit_with(f"\nStopped at once. {kept}", STOPPED_AT_ONCE)
        except KeyboardInterrupt:  # Between trainings, when there is nothing to save.
            _exit_with(f"\nStopped. {kept}", STOPPED)
        except Exception:
            traceback.print_exc()
            _end(1)

    app.run(guarded, flags_parser=_parse)


def _parse(arguments):
    try:
        return FLAGS(arguments)
    except flags.Error as error:
        message = one_line(error)
        _refuse(
            f"{message}. See --help." if not message.endswith(".") else f"{message} See --help."
        )


def _refuse(message: str) -> None:
    _exit_with(f"{pathlib.Path(sys.argv[0]).stem}: {message}", 2)


def _exit_with(message: str, status: int) -> None:
    with contextlib.suppress(OSError):  # Nobody may be there to read it.
        print(message, file=sys.stderr)
    _end(status)


def _end(status: int) -> None:
    if TF_CONFIG not in os.environ:
        sys.exit(status)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)  # At an orderly end TensorFlow waits for the others, and they for this one.
