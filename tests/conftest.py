import os
import pathlib

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SHARED = pathlib.Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def tiny_imagenet_zip():
    """40 real classes of Tiny ImageNet, where this checkout has them."""
    path = SHARED / "data" / "tiny-imagenet-40.zip"
    if not path.exists():
        pytest.skip(f"needs {path.name} in {path.parent.name}/ beside the checkout")
    return path


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Where TFDS prepares datasets in tests."""
    return str(tmp_path_factory.mktemp("tfds"))
