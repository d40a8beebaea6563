"""The default detector: every row is judged by what users of other folds teach, never by its own user.

`spaces` makes item vectors of a fold's other users, and `predictor` learns which items go with which from them.
`order` says when items are had. `evidence` compares a row with the rest of its history by these. `lessons` are
histories with injected noise of several `kinds`, from which a `head` for each learns what evidence says; `shares` are
how much of the log is noise, and `judge` brings it all together. A small log is judged by a `panel`, whose judges share
what is `known` of it.
"""

from iadsr_cli.crossfit.judge import Judge
from iadsr_cli.crossfit.known import Known
from iadsr_cli.crossfit.panel import Panel, Teachings

__all__ = ["Judge", "Known", "Panel", "Teachings"]
