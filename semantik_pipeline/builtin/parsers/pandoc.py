"""Converts OpenDocument, EPUB and RTF to HTML with the pandoc from the package pypandoc_binary."""

from __future__ import annotations

import subprocess

from semantik_pipeline.errors import UnsupportedContent

#: Heap limit of the pandoc process, which the memory limit of the parsing child process does not cover.
HEAP = "1G"

_HEAP_EXHAUSTED = 251  # exit code of GHC's runtime


def html_of(content: bytes, source_format: str, name: str) -> str:
    """The document as HTML. ``--sandbox`` keeps pandoc from reading any other file or address.

    Raises UnsupportedContent if pandoc cannot read it.
    """
    import pypandoc

    try:
        pandoc = pypandoc.get_pandoc_path()
    except OSError as error:
        raise UnsupportedContent(
            f"{name} needs pandoc, which is not installed.", "pip install 'semantik-pipeline[parsers]'"
        ) from error
    command = [pandoc, "+RTS", f"-M{HEAP}", "-RTS", "--sandbox", "--from", source_format, "--to", "html"]
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    if done.returncode == _HEAP_EXHAUSTED:
        raise UnsupportedContent(f"pandoc needs more than {HEAP} of memory to read {name}.")
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise UnsupportedContent(f"{name} cannot be read as {source_format}: {reason[0]}.")
    return done.stdout.decode("utf-8", "replace")
