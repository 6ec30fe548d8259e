"""Entry point for ``python -m semantik_pipeline.cli``, which is the same as ``semantik``."""

from __future__ import annotations

from semantik_pipeline.cli import main

if __name__ == "__main__":
    main()
