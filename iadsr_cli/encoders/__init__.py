"""Item text -> semantic vectors, cached by content.

`embed_items` is the way in. What an `--encoder` value means is decided in `registry`; a new encoder is one
new file and one line there. Nothing here imports torch, scikit-learn or httpx before an encoder needs it.
"""

from iadsr_cli.encoders.contract import Encoder, ItemVectors
from iadsr_cli.encoders.items import embed_items
from iadsr_cli.encoders.registry import check_batches, described, make_encoder
from iadsr_cli.encoders.table import VectorTable

__all__ = ["Encoder", "ItemVectors", "VectorTable", "check_batches", "described", "embed_items", "make_encoder"]
