"""Gives a dataset's pictures as batches of task A or B, from memory or from disk."""

from transfer_keras.datasets import sources
from transfer_keras.datasets.bad_images import shorten_error
from transfer_keras.datasets.contents import KEPT as KEPT_CONTENTS
from transfer_keras.datasets.division import Division
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.feature_examples import FeatureExamples
from transfer_keras.datasets.folder import find_file_fault
from transfer_keras.datasets.folder_check import HEADING, FolderCheck, check_folder
from transfer_keras.datasets.picture_page import thumbnail
from transfer_keras.datasets.picture_size import find_large_picture
from transfer_keras.datasets.preprocessing import Pixels, Preprocessing
from transfer_keras.datasets.streamed import StreamedExamples
from transfer_keras.datasets.task_pair import AnyExamples, TaskPair

__all__ = [
    "HEADING",
    "KEPT_CONTENTS",
    "AnyExamples",
    "Division",
    "Examples",
    "FeatureExamples",
    "FolderCheck",
    "Pixels",
    "Preprocessing",
    "StreamedExamples",
    "TaskPair",
    "check_folder",
    "find_file_fault",
    "find_large_picture",
    "shorten_error",
    "sources",
    "thumbnail",
]
