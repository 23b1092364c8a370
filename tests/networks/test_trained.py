import zipfile

import keras
import pytest

from transfer_keras import networks
from transfer_keras.config.errors import UserError
from transfer_keras.networks import trained


def build(**changes):
    return networks.build("alexnet_small", **{"image_size": 32, "classes": 4, **changes})


@pytest.fixture
def path(tmp_path):
    (tmp_path / "baseA").mkdir()
    path = tmp_path / "baseA" / "network.keras"
    build(classes=7).save(path)
    return path


def test_a_good_one(path):
    assert trained.load_trained(path, build()).output.shape == (None, 7)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", None])
def test_damaged_ones_are_refused(path, member):
    content = path.read_bytes()
    if member is None:
        path.write_bytes(content[: len(content) // 2])
    else:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members[member] = members[member][: len(members[member]) // 2]
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    with pytest.raises(UserError, match=r".*network.keras cannot be used: .* Remove the fold"):
        trained.load_trained(path, build())


def test_flipped_bits_are_refused(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be used"):
        trained.load_trained(path, build())


def test_another_architecture_is_refused(path):
    model = build()
    inputs = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(5, 3, name="conv1")(inputs)
    keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x))).save(path)
    with pytest.raises(
        UserError,
        match=r"another network than alexnet_small: it has Conv2D 'conv1' \[\(3, 3, 3, 5\), .*"
        r"expected Conv2D 'conv1' \[\(5, 5, 3, 48\)",
    ):
        trained.load_trained(path, model)
    build(image_size=48).save(path)
    with pytest.raises(UserError, match=r"input \(None, 48, 48, 3\), expected input \(None, 32"):
        trained.load_trained(path, model)


def test_code_is_refused_and_not_run(path):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Lambda(lambda t: t * 2, output_shape=(32, 32, 3))(inputs)
    keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x))).save(path)
    with pytest.raises(UserError, match=r"cannot be used: .*[Ll]ambda"):
        trained.load_trained(path, build())
