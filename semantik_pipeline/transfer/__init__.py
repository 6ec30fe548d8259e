"""A collection in a file: out of one installation, into another, without embedding anything again.

``archive`` is the format, ``exporting`` writes it and ``importing`` reads it.
"""

from semantik_pipeline.transfer.archive import VERSION, manifest_of, read
from semantik_pipeline.transfer.exporting import export
from semantik_pipeline.transfer.importing import import_collection

__all__ = ["VERSION", "export", "import_collection", "manifest_of", "read"]
