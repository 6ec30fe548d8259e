"""Decides by name which files of a repository a model needs; fetches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from semantik_pipeline.errors import UsageError

#: Weights for other frameworks.
OTHER_FRAMEWORKS = frozenset({".onnx", ".onnx_data", ".h5", ".msgpack", ".ot", ".tflite", ".mlmodel", ".gguf", ".npz"})

#: Folders with such weights and copies of the configuration, and folders for a hub's own data.
OTHER_FOLDERS = frozenset({"onnx", "openvino", "coreml", "tf", "flax", ".cache", ".git"})

#: Formats that can run code when they are read.
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})

#: Files for people rather than programs. Licences are kept.
FOR_PEOPLE = frozenset({".md", ".png", ".jpg", ".jpeg", ".svg", ".gif", ".pdf", ".ipynb", ".csv"})


def needed(files: Sequence[str], *, name: str, pickles: bool = False) -> list[str]:
    """The files to fetch from those in the repository: configuration, tokenizer, code, and one set of weights, which is
    safetensors if there is one.

    Raises UsageError if there are no weights, or if they are all pickles and ``pickles`` does not allow them.
    """
    wanted = [file for file in files if _is_ours(PurePosixPath(file))]
    safe = [file for file in wanted if file.endswith(".safetensors")]
    pickled = [file for file in wanted if PurePosixPath(file).suffix in PICKLES]
    if safe:
        return [file for file in wanted if file not in pickled]
    if not pickled:
        raise UsageError(
            f"The repository {name!r} has no weights that can be read here.", "Choose one with .safetensors files."
        )
    if not pickles:
        raise UsageError(
            f"The weights of {name!r} are pickled ({pickled[0]}), and reading them can run code.",
            "If you trust its authors, use --pickles. Otherwise choose a revision or a copy with .safetensors files.",
        )
    return wanted


def _is_ours(file: PurePosixPath) -> bool:
    if file.name.startswith(".") or any(part in OTHER_FOLDERS for part in file.parts[:-1]):
        return False
    foreign = file.suffix in OTHER_FRAMEWORKS | FOR_PEOPLE
    return not foreign and not file.name.startswith(("tf_model", "flax_model", "rust_model", "training_args"))
