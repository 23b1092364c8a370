"""A page that shows what was found in a folder of pictures, side by side."""

import base64
import io
import pathlib
from collections.abc import Mapping, Sequence

import PIL.Image

from transfer_keras.config import render_template
from transfer_keras.datasets.leave_out import name_in_list
from transfer_keras.datasets.orientation import UNREADABLE, open_upright
from transfer_keras.datasets.picture_checks import CHECKS, UNEVEN, Finding
from transfer_keras.datasets.picture_facts import Picture

_SIDE = 160  # Of a thumbnail, in pixels, at the most.
_SHOWN = 40  # Findings of a kind, at the most.
_COPIES = 6  # Pictures of a finding, at the most.


def render_page(
    dataset: str, findings: Sequence[Finding], splits: Mapping[str, int], root: pathlib.Path
) -> str:
    """Draws the page; it is one file, and needs no network.

    Args:
        dataset: its name.
        findings: see `picture_checks.check_pictures`.
        splits: name of a split -> how many pictures it has.
        root: the folder of the dataset.

    Returns:
        HTML, in which names are text.
    """
    sections = []
    for check in CHECKS:
        of_kind = [finding for finding in findings if finding.check == check]
        if not of_kind:
            continue
        shown = [] if check == UNEVEN else of_kind[:_SHOWN]
        section = {
            "check": check,
            "count": len({p.path for finding in of_kind for p in finding.pictures}),
            "note": of_kind[0].note if check == UNEVEN else "",
            "more": len(of_kind) - len(shown) if shown else 0,
            "findings": [
                {
                    "note": finding.note,
                    "pictures": [_shown(picture, root) for picture in finding.pictures[:_COPIES]],
                    "more": max(0, len(finding.pictures) - _COPIES),
                }
                for finding in shown
            ],
        }
        sections.append(section)
    return render_template("datasets", "pictures.html", dataset=dataset, sections=sections,
                           splits=splits)  # fmt: skip


def thumbnail(path: str, side: int = _SIDE) -> str | None:
    """Draws a picture small, as the data of an `img`; None if it cannot be opened.

    Args:
        path: of the file.
        side: the longer side is at most so many pixels.
    """
    try:
        picture = open_upright(pathlib.Path(path).read_bytes(), least=side)
    except UNREADABLE:
        return None
    picture.thumbnail((side, side), PIL.Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shown(picture: Picture, root: pathlib.Path) -> dict[str, object]:
    return {"name": name_in_list(picture.path, root), "image": thumbnail(picture.path)}
