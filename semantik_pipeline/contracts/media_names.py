"""Media types by file name. This table comes first: the system's differs by machine, and calls ``.ts`` a video."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath

_OFFICE = "application/vnd.openxmlformats-officedocument."

_SOURCE = {
    "text/x-python": ".py .pyi .pyx",
    "text/javascript": ".js .mjs .cjs .jsx",
    "text/x-typescript": ".ts .tsx .mts",
    "text/x-c": ".c .h",
    "text/x-c++": ".cc .cpp .cxx .hh .hpp .hxx",
    "text/x-csharp": ".cs",
    "text/x-java": ".java",
    "text/x-kotlin": ".kt .kts",
    "text/x-scala": ".scala",
    "text/x-go": ".go",
    "text/x-rust": ".rs",
    "text/x-ruby": ".rb",
    "text/x-php": ".php",
    "text/x-perl": ".pl .pm",
    "text/x-lua": ".lua",
    "text/x-swift": ".swift",
    "text/x-haskell": ".hs",
    "text/x-erlang": ".erl .ex .exs",
    "text/x-ocaml": ".ml .mli",
    "text/x-lisp": ".lisp .el .clj .scm",
    "text/x-r": ".r",
    "text/x-julia": ".jl",
    "text/x-sql": ".sql",
    "text/x-shellscript": ".sh .bash .zsh .fish",
    "text/x-powershell": ".ps1",
    "text/x-makefile": ".mk .cmake",
    "text/x-dockerfile": ".dockerfile",
    "text/x-template": ".j2 .jinja .tmpl .vue .svelte",
    "text/x-tex": ".tex .sty .bib",
    "text/x-diff": ".diff .patch",
    "text/css": ".css .scss .sass .less",
    "text/x-ini": ".ini .cfg .conf .properties .env .editorconfig",
    "text/x-protobuf": ".proto",
    "text/x-graphql": ".graphql",
    "text/x-terraform": ".tf .hcl",
}

_DOCUMENTS = {
    "text/plain": ".txt .text .log .nfo .srt .vtt",
    "text/markdown": ".md .markdown .mdown .mkd .mdx",
    "text/x-rst": ".rst .rest",
    "text/org": ".org",
    "text/asciidoc": ".adoc .asciidoc",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv .tab",
    "text/html": ".html .htm",
    "application/xhtml+xml": ".xhtml",
    "application/xml": ".xml .xsd .xsl",
    "application/json": ".json .geojson .ipynb .webmanifest",
    "application/x-ndjson": ".jsonl .ndjson",
    "application/yaml": ".yaml .yml",
    "application/toml": ".toml",
    "application/rtf": ".rtf",
    "application/pdf": ".pdf",
    "application/epub+zip": ".epub",
    "message/rfc822": ".eml",
    "application/vnd.ms-outlook": ".msg",
    "application/msword": ".doc",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.ms-powerpoint": ".ppt",
    f"{_OFFICE}wordprocessingml.document": ".docx",
    f"{_OFFICE}spreadsheetml.sheet": ".xlsx",
    f"{_OFFICE}presentationml.presentation": ".pptx",
    "application/vnd.oasis.opendocument.text": ".odt",
    "image/svg+xml": ".svg",
}

#: File extension (with the dot, lower case) to media type.
NAMED: dict[str, str] = {
    extension: media_type
    for table in (_SOURCE, _DOCUMENTS)
    for media_type, extensions in table.items()
    for extension in extensions.split()
}

_WHOLE_NAMES = {"makefile": "text/x-makefile", "dockerfile": "text/x-dockerfile"}
_TEXT_TYPES = {
    "application/json",
    "application/x-ndjson",
    "application/yaml",
    "application/toml",
    "application/javascript",
    "application/sql",
    "message/rfc822",
}
# Only the table that comes with Python, not the system's.
_builtin_types = mimetypes.MimeTypes(filenames=())


def by_name(name: str) -> str | None:
    """Return the media type that a file name stands for, or None if it stands for none."""
    path = PurePosixPath(name)
    known = NAMED.get(path.suffix.lower()) or _WHOLE_NAMES.get(path.name.lower())
    return known or _builtin_types.guess_type(f"x{path.suffix.lower()}")[0]


def is_text_type(media_type: str) -> bool:
    """Return whether content of this media type is text that a person can read as it is."""
    return media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(("+xml", "+json", "/xml"))
