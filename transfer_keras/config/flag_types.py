"""How flags that hold several values are read and written."""

import os
import re
from collections.abc import Iterator, Sequence

from absl import flags

from transfer_keras.config import paths, tasks, treatments
from transfer_keras.config.sections import why_no_pattern

flags.disclaim_key_flags()  # A flag belongs to the module that calls `define_path`.

ALL = "all"
_MOST = 1000


class Path(flags.ArgumentParser):
    """A path of this machine, as it was given: `~` stays.

    Args:
        prefixes: of these one may stand before the path.
        words: what is no path but has a meaning of its own.
        others: beginnings of what is no path.
        several: whether there may be several, with commas.
        required: whether there has to be one.
    """

    syntactic_help = "a path"

    def __init__(
        self,
        *,
        prefixes: Sequence[str] = (),
        words: Sequence[str] = (),
        others: Sequence[str] = (),
        several: bool = False,
        required: bool = False,
    ):
        super().__init__()
        self._prefixes, self._words, self._others = prefixes, words, tuple(others)
        self._several, self._required = several, required

    def parse(self, argument):
        if self._required and not argument:
            raise ValueError(f"expected {self.syntactic_help}")
        several = self._several and not os.path.exists(argument)
        for given in map(str.strip, argument.split(",")) if several else (argument,):
            if given in self._words or given.startswith(self._others):
                continue
            prefix = next(filter(given.startswith, self._prefixes), "")
            if why := paths.why_no_path(given.removeprefix(prefix)):
                raise ValueError(why)
        return argument

    def flag_type(self):
        return "string"


def define_path(
    name: str,
    default: str | None,
    help_text: str,
    *,
    required: bool = False,
    **settings: object,
) -> flags.FlagHolder:
    """Defines a flag whose value is a path.

    Args:
        name, default, help_text: of the flag.
        required: whether there has to be one.
        settings: those of `Path`.
    """
    return flags.DEFINE(
        Path(required=required, **settings),
        name,
        default,
        help_text,
        serializer=flags.ArgumentSerializer(),
        required=required and default is None,
    )


class Pattern(flags.ArgumentParser):
    """A regular expression, as text."""

    syntactic_help = "a regular expression"

    def parse(self, argument):
        if why := why_no_pattern(argument):
            raise ValueError(f"expected {self.syntactic_help} ({why})")
        return argument

    def flag_type(self):
        return "string"


class Duration(flags.ArgumentParser):
    """ "1h30m" -> 5400.0, in seconds."""

    syntactic_help = "a time, as 90s, 30m, 2h or 1h30m"

    def parse(self, argument):
        if not isinstance(argument, str):
            return float(argument)
        match = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", argument.strip())
        hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0,) * 3
        if not hours + minutes + seconds:
            raise ValueError(f"expected {self.syntactic_help}")
        return 3600.0 * hours + 60.0 * minutes + seconds

    def flag_type(self):
        return "time"


class _Several(flags.ArgumentParser):
    """Values separated by commas, each once, as a tuple."""

    def parse(self, argument):
        if not isinstance(argument, str):
            return tuple(argument)
        parts = map(str.strip, argument.split(","))
        return tuple(dict.fromkeys(value for part in parts for value in self.values(part)))

    def values(self, part: str) -> Iterator:
        """Reads what stands between two commas; ValueError if it means nothing."""
        raise NotImplementedError


class Numbers(_Several):
    """ "1,3,5-7" -> (1, 3, 5, 6, 7).

    Args:
        least, most: that a number may be.
    """

    syntactic_help = "numbers and ranges, as 3 or 1,3,5-7"

    def __init__(self, least: int, most: int):
        super().__init__()
        self._least, self._most = least, most

    def values(self, part):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match:
            raise ValueError(f"expected {self.syntactic_help}, found {part!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if first < self._least or last < first or last > self._most:
            raise ValueError(
                f"a range begins at {self._least} or above, ascends and ends at {self._most} or "
                f"below, found {part!r}"
            )
        if last - first >= _MOST:
            raise ValueError(f"a range has at most {_MOST} numbers, found {part!r}")
        yield from range(first, last + 1)


class Splits(_Several):
    """ "0-2,natural" -> ("0", "1", "2", "natural")."""

    syntactic_help = "numbers, ranges, natural, whole or files, separated by commas"

    def parse(self, argument):
        if isinstance(argument, str) and os.path.isfile(argument):
            return (argument,)  # Its name may have commas.
        return super().parse(argument)

    def values(self, part):
        if why := paths.why_no_path(part):
            raise ValueError(why)
        if re.fullmatch(r"\d+(-\d+)?", part):
            yield from map(str, Numbers(0, tasks.MOST_SPLITS - 1).values(part))
        else:
            yield part


class Amounts(_Several):
    """ "5,25,all" -> (5, 25, None)."""

    syntactic_help = f"numbers from 1 up, or {ALL}"

    def values(self, part):
        if part != ALL and not (part.isdecimal() and int(part)):
            raise ValueError(f"expected {self.syntactic_help}, found {part!r}")
        yield None if part == ALL else int(part)


class Choices(_Several):
    """ "frozen,random" -> ("frozen", "random").

    Args:
        choices: that there are.
    """

    def __init__(self, choices: Sequence[str]):
        super().__init__()
        self._choices = choices
        self.syntactic_help = f"one or several of {', '.join(choices)}"

    def values(self, part):
        if part not in self._choices:
            raise ValueError(f"expected {self.syntactic_help}, found {part!r}")
        yield part


class Treatments(_Several):
    """ "A3B,B3B+" -> two `Treatment`s."""

    syntactic_help = "names as A3B, B3B+, R2B, baseA, separated by commas"

    def values(self, part):
        yield treatments.parse_treatment(part)


class CommaSerializer(flags.ArgumentSerializer):
    """Writes what any of them reads."""

    def serialize(self, value):
        return ",".join(ALL if part is None else str(part) for part in value)
