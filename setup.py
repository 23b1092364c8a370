"""Packaging. Settings of the tools are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "transfer_keras" / "__init__.py").read_text())[
    1
]
EXPORT = ["ai-edge-litert", "onnx", "onnxruntime", "tf2onnx"]

setup(
    name="transfer_keras",
    version=VERSION,
    description="How many lower layers of a network transfer to another task, and what is lost.",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["transfer_keras", "transfer_keras.*"]),
    package_data={"transfer_keras": ["*/*.csv", "*/templates/*"]},
    python_requires=">=3.11",
    install_requires=[
        "absl-py",
        "imagehash",
        "importlib_resources",  # TFDS 4.9 imports it and does not say so.
        "keras>=3.15",
        "jinja2",
        "matplotlib",
        "msgspec>=0.19",
        "numpy>=2",
        "pillow>=11",
        "safetensors>=0.8",
        "scikit-learn>=1.7",
        "scipy>=1.15",
        "tensorboard",
        "tensorflow>=2.21",
        "tensorflow-datasets",
        "tqdm",
    ],
    extras_require={
        "cluster": ["ray"],
        "export": EXPORT,
        "gpu": ["tensorflow[and-cuda]>=2.21"],
        "hub": ["keras-hub"],
        "test": [
            *EXPORT,
            "hypothesis",
            "pytest",
            "pytest-xdist",
            "ray",
            "ruff",
            "selenium",
            "keras-hub",
            "tf_keras",  # Keras 2, which writes the older files that are read here.
        ],
    },
)
