import pytest
from support.tiny_imagenet import make_files


@pytest.fixture
def files():
    """Gives the files of a small Tiny ImageNet, name -> bytes."""
    return make_files()


@pytest.fixture
def prepared_elsewhere(monkeypatch, tmp_path):
    """Gives TFDS a new folder for prepared datasets."""
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))
