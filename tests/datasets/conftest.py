import pytest
from support.tiny_imagenet import make_files


@pytest.fixture
def files():
    """Those of a small Tiny ImageNet."""
    return make_files()


@pytest.fixture
def prepared_elsewhere(monkeypatch, tmp_path):
    """TFDS's own folder for prepared datasets is a new one."""
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))
