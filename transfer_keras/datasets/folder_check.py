"""Checks a folder of pictures as a whole: its lines for the screen, its page, its list."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

from transfer_keras.datasets.division import USUAL, Division
from transfer_keras.datasets.folder import Folder
from transfer_keras.datasets.leave_out import COMMENT, name_in_list, read_list
from transfer_keras.datasets.picture_checks import (
    CHECKS,
    HARMFUL,
    Finding,
    check_pictures,
    describe_findings,
    pictures_to_leave_out,
)
from transfer_keras.datasets.picture_facts import Picture, look_at_pictures
from transfer_keras.datasets.picture_page import render_page

HEADING = "# Pictures that check_pictures would leave out, relative to the folder"


@dataclasses.dataclass(frozen=True, eq=False)
class FolderCheck:
    """What was found in a folder of pictures.

    Attributes:
        dataset: "folder:PATH".
        root: the folder.
        splits: name of a split -> how many pictures it has.
        pictures: those that were looked at.
        findings: what was found; see `picture_checks.check_pictures`.
        left_out: path of a list of pictures that were not looked at; None: all were.
    """

    dataset: str
    root: pathlib.Path
    splits: dict[str, int]
    pictures: Sequence[Picture]
    findings: Sequence[Finding]
    left_out: str | None = None

    def lines(self, *, harmful: bool = False) -> list[str]:
        """Writes a line for each kind of finding.

        Args:
            harmful: only of those that make an accuracy wrong.
        """
        checks = HARMFUL if harmful else CHECKS
        return describe_findings(self.findings, self._name, checks)

    @property
    def to_leave_out(self) -> int:
        """Counts the pictures in the list."""
        return sum(not line.startswith(COMMENT) for line in self.list_lines)

    @functools.cached_property
    def list_lines(self) -> list[str]:
        """Gives the lines of a list for `--leave_out`, comments among them.

        What was left out already is in it again.
        """
        lines = pictures_to_leave_out(self.findings, self.pictures, self.root)
        earlier = sorted(read_list(self.left_out)) if self.left_out else []
        return [HEADING, *earlier, *lines]

    def page(self) -> str:
        """Draws the page."""
        return render_page(self.dataset, self.findings, self.splits, self.root)

    def _name(self, picture: Picture) -> str:
        return name_in_list(picture.path, self.root)


def check_folder(
    dataset: str,
    division: Division = USUAL,
    leave_out: str | None = None,
    *,
    decode: bool = True,
    deadline: float | None = None,
) -> FolderCheck:
    """Looks at all pictures of a folder; nothing in it is changed.

    Args:
        dataset: "folder:PATH".
        division: see `folder.Folder`.
        leave_out: a list of pictures that are not looked at.
        decode, deadline: see `picture_facts.look_at_pictures`.

    Raises:
        UserError: see `folder.Folder`.
    """
    folder = Folder(dataset, bad_images="skip", division=division, leave_out=leave_out)
    splits = folder.files()
    counts = {name: sum(map(len, classes.values())) for name, classes in splits.items()}
    pictures = look_at_pictures(splits, decode=decode, deadline=deadline)
    pictures += [Picture(path, folder.train, "", fault=fault) for path, fault in folder.unusable]
    return FolderCheck(
        dataset,
        folder.root,
        counts,
        pictures,
        check_pictures(pictures, folder.train),
        leave_out,
    )
