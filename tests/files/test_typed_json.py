"""JSON is read as a type, and what is of another is named in one line."""

import dataclasses
from typing import Annotated

import msgspec
import pytest

from transfer_keras.files import DamagedFile, read_json, set_aside


@dataclasses.dataclass
class Facts:
    n: Annotated[int, msgspec.Meta(ge=0)]
    rates: dict[str, float]
    names: tuple[str, ...] = ()


DAMAGED = {
    "": "truncated",
    "{": "truncated",
    "null": "got `null`",
    "[]": "got `array`",
    '{"n": 1}': "missing required field `rates`",
    '{"n": "1", "rates": {}}': "`str` - at `$.n`",
    '{"n": true, "rates": {}}': "`bool` - at `$.n`",
    '{"n": -1, "rates": {}}': ">= 0",
    '{"n": 1.5, "rates": {}}': "`float` - at `$.n`",
    '{"n": NaN, "rates": {}}': "malformed",
    '{"n": 1, "rates": {"a": Infinity}}': "malformed",
    '{"n": 1, "rates": {"a": 1e999}}': "out of range",
    '{"n": 1, "rates": {"a": ' + "9" * 400 + "}}": "out of range",
    '{"n": 1, "rates": {}, "names": "abc"}': "`str` - at `$.names`",
    '{"n": 1, "rates": {}, "names": ' + "[" * 100_000: "`array` - at",
    '{"other": ' + "[" * 100_000: "recursion",
    '{"n": 1, "rates": {}} trailing': "trailing characters",
}


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:30])
def test_damaged(tmp_path, text):
    path = tmp_path / "facts.json"
    path.write_text(text)
    with pytest.raises(DamagedFile) as error:
        read_json(path, Facts, "Remove it.")
    message = str(error.value)
    assert message.startswith(f"{path}: is damaged: ")
    assert DAMAGED[text].lower() in message.lower()
    assert message.endswith(". Remove it.")
    assert "\n" not in message


def test_sound(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text('{"n": 3, "rates": {"ü": 1}, "names": ["a"], "of a later version": 1}')
    assert read_json(path, Facts) == Facts(3, {"ü": 1.0}, ("a",))
    path.write_bytes(b"\xff")
    with pytest.raises(DamagedFile, match="is damaged"):
        read_json(path, Facts)


def test_set_aside(tmp_path):
    path, lines = tmp_path / "facts.json", []
    path.write_text("{")
    with pytest.raises(DamagedFile) as error:
        read_json(path, Facts)
    set_aside(error.value, lines.append, "it is made again")
    assert [p.name for p in tmp_path.iterdir()] == ["facts.json.damaged"]
    (line,) = lines
    assert line.startswith(f"{path}: is damaged")
    assert line.endswith("It was renamed to facts.json.damaged, and it is made again.")
