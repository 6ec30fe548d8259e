"""Move a collection to another installation through a file, without embedding anything again.

``archive`` defines the format, ``exporting`` writes it and ``importing`` reads it.
"""

from semantik_pipeline.transfer.archive import VERSION, manifest_of, read
from semantik_pipeline.transfer.exporting import export
from semantik_pipeline.transfer.importing import import_collection

__all__ = ["VERSION", "export", "import_collection", "manifest_of", "read"]
