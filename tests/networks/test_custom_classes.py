"""Classes of a person's own, in a module that is imported only where it is asked for."""

import sys

import keras
import pytest
from support.networks import network, request

from transfer_keras.config.errors import UserError
from transfer_keras.config.experiment import make_request

OWN = """
import keras

@keras.saving.register_keras_serializable(package="mine")
class Halve(keras.layers.Layer):
    def call(self, x):
        return x / 2

class Third(keras.layers.Layer):
    def call(self, x):
        return x / 3
"""
# Saves a network with a layer of each kind; the module stands beside it.
SAVE = """
import keras, own_classes
layers = keras.layers
inputs = keras.Input((8, 8, 3))
x = layers.Rescaling(1 / 255)(inputs)
x = layers.Conv2D(4, 3, name="c1")(own_classes.KIND(name="own")(x))
x = layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(x))
keras.Model(inputs, x, name="net").save("own.keras")
"""


@pytest.fixture(params=["Halve", "Third"])
def folder(request, program, tmp_path):
    """Gives a folder with a network, and the module that its class is defined in."""
    (tmp_path / "own_classes.py").write_text(OWN)
    done = program("-c", SAVE.replace("KIND", request.param), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    yield tmp_path
    sys.modules.pop("own_classes", None)
    known = keras.saving.get_custom_objects()
    for name in ("mine>Halve", "Third", "Halve"):
        known.pop(name, None)


@pytest.mark.parametrize("by", ["name", "path"])
def test_classes_of_ones_own_are_found(folder, monkeypatch, by):
    monkeypatch.syspath_prepend(folder)
    module = "own_classes" if by == "name" else str(folder / "own_classes.py")
    donor = network(request(folder / "own.keras", custom_objects=module))
    assert type(donor.get_layer("own")).__name__ in ("Halve", "Third")


def test_nothing_is_imported_unless_it_is_asked_for(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(UserError, match=r"class '(Halve|Third)' is not one of Keras's own\. Give"):
        network(request(folder / "own.keras"))
    assert "own_classes" not in sys.modules


BAD = [
    ("nowhere.py", r"--custom_objects=nowhere\.py: no such file"),
    ("no_module", r"--custom_objects=no_module: No module named 'no_module'\. Expected a module"),
    ("broken.py", r"--custom_objects=broken\.py: cannot be imported \(ZeroDivisionError: "),
    ("other.py", r"class '(Halve|Third)' is not .*--custom_objects=other\.py does not define it"),
]


@pytest.mark.parametrize(("module", "message"), BAD)
def test_what_is_wrong_is_said_in_one_line(folder, monkeypatch, module, message):
    monkeypatch.chdir(folder)
    (folder / "broken.py").write_text("1 / 0")
    (folder / "other.py").write_text("x = 1")
    with pytest.raises(UserError, match=message) as error:
        network(request(folder / "own.keras", custom_objects=module))
    assert "\n" not in str(error.value)


def test_it_is_no_part_of_what_an_experiment_is(folder):
    given = request(folder / "own.keras", custom_objects="own_classes").donor
    assert given.identity == request(folder / "own.keras").donor.identity
    with pytest.raises(UserError, match=r"--custom_objects=x: is about a --donor, and none"):
        make_request(["A1B"], custom_objects="x")
