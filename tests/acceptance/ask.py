"""Runs many searches in one process: ``ask.py SETTINGS DATA_FOLDER``, with the questions on standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from semantik_pipeline.runtime import Runtime
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.settings import load_settings


def main() -> None:
    settings, data = (Path(argument) for argument in sys.argv[1:])
    asked = json.load(sys.stdin)
    with Runtime(load_settings(config=settings, data_dir=data)) as runtime, runtime.own():
        queries = {
            name: SearchQuery(text=phrase, mode="sparse", rerank=False, limit=asked["limit"])
            for name, phrase in asked["phrases"].items()
        }
        print(json.dumps({name: search(runtime, query).to_dict() for name, query in queries.items()}))


if __name__ == "__main__":
    main()
