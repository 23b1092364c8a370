"""Arrays come back as they were written, and every damage of their file is found."""

import io
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.paths import ROOT

from transfer_keras.files import DamagedFile, read_arrays, write_arrays

ARRAYS = {
    "none": np.zeros((0, 3), np.int32),
    "scalar": np.float32(7),
    "turned": np.arange(12.0).reshape(3, 4).T,
    "truth": np.array([True, False]),
    "half": np.ones(3, ml_dtypes.bfloat16),
    "big-endian": np.arange(5, dtype=">i4"),
    "not finite": np.array([np.nan, np.inf]),
}
FACTS = {"step": 3, "ü": [None, 1.5]}


def test_round_trip(tmp_path):
    path = tmp_path / "x.safetensors"
    write_arrays(path, ARRAYS, FACTS)
    arrays, facts = read_arrays(path)
    assert facts == FACTS
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype.name == array.dtype.name
        assert arrays[name].shape == array.shape
        assert np.array_equal(arrays[name], array, equal_nan=name == "not finite"), name
    assert np.array_equal(load_file(path)["turned"], ARRAYS["turned"]), "read by the library alone"
    with pytest.raises(ValueError, match="JSON"):
        write_arrays(tmp_path / "y.safetensors", {}, {"loss": float("nan")})
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_every_flipped_bit_and_every_truncation_is_found(tmp_path):
    path = tmp_path / "x.safetensors"
    write_arrays(path, {"a": np.arange(3, dtype=np.int16)}, {"n": 1})
    content = path.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(DamagedFile):
                read_arrays(path)
        path.write_bytes(content[:place])
        with pytest.raises(DamagedFile):
            read_arrays(path)
    path.write_bytes(content + b"x")
    with pytest.raises(DamagedFile):
        read_arrays(path)


def test_a_file_that_cannot_be_written(tmp_path):
    """The limit of a file's size stands for a disk that is full."""
    code = (
        "import pathlib, resource, signal, sys, numpy\n"
        "from transfer_keras.files import write_arrays\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_arrays(pathlib.Path(sys.argv[1]), {'a': numpy.zeros(9999)})\n"
        "except OSError as error: print(error)"
    )
    path = tmp_path / "x.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == f"[Errno 27] File too large: '{path}'\n", done.stderr
    assert not list(tmp_path.iterdir())


def test_files_of_others(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(DamagedFile, match="was not written by transfer_keras"):
        read_arrays(path)
    for text in ("1", "[]", '{"sha256": 1, "facts": {}}', "[" * 10_000):
        save_file({"a": np.zeros(3)}, path, {"transfer_keras": text})
        with pytest.raises(DamagedFile, match="is damaged"):
            read_arrays(path)


def test_npz_of_version_0_1_0(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, label=np.arange(5), predicted=np.ones(5))
    assert np.array_equal(read_arrays(path).arrays["label"], np.arange(5))
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place])
        with pytest.raises(DamagedFile, match=r"x\.npz: is damaged"):
            read_arrays(path)
    np.savez(path, objects=np.array([{}], object))
    with pytest.raises(DamagedFile, match="claims"):
        read_arrays(path)


def forged(shape, dtype="<f8", data=b""):
    """Makes an .npz file whose one array claims a shape."""
    header, file = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("label.npy", header.getvalue() + data)
    return file.getvalue()


def test_headers_that_claim_more_than_there_is(tmp_path):
    path = tmp_path / "x.npz"
    for shape in ((50 * 2**40,), (2**62, 2**62), (10**30,)):
        path.write_bytes(forged(shape))
        with pytest.raises(DamagedFile, match="claims"):
            read_arrays(path)


@pytest.mark.slow
def test_bombs_take_no_memory(tmp_path):
    """Sixteen zipped gigabytes in 16 MiB, where 8 GiB would be too much."""
    path = tmp_path / "x.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("label.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(16 * 2**4):
            member.write(bytes(2**26))
    code = (
        "import sys, pathlib, transfer_keras.config.memory as memory\n"
        "sys.path.insert(0, 'tests')\n"
        "from support.peak_memory import peak_memory\n"
        "from transfer_keras.files import DamagedFile, read_arrays\n"
        "memory.process_memory = lambda: 2**33\n"
        "try: read_arrays(pathlib.Path(sys.argv[1]))\n"
        "except DamagedFile as error: print(error)\n"
        "assert peak_memory() < 2**31"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT
    )
    assert "would fill more than the memory" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr
