"""Sequential recommenders and their alignment with semantic vectors.

A new backbone is one file with a `Backbone` subclass, one line in `BACKBONES` and its name among the choices of
`config.BackboneSettings`.
"""

from iadsr_cli.config import BackboneSettings
from iadsr_cli.models.backbone import Backbone
from iadsr_cli.models.caser import Caser
from iadsr_cli.models.gru4rec import GRU4Rec
from iadsr_cli.models.sasrec import SASRec

BACKBONES: dict[str, type[Backbone]] = {"gru4rec": GRU4Rec, "sasrec": SASRec, "caser": Caser}


def make_backbone(settings: BackboneSettings, n_items: int) -> Backbone:
    """Return an untrained recommender over `n_items` items."""
    return BACKBONES[settings.backbone](settings, n_items)
