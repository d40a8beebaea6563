"""The default detector: every row is judged by what users of other folds teach, never by its own user.

`spaces` makes item vectors of a fold's other users, and `predictor` learns which items go with which from them.
`evidence` compares a row with the rest of its history by these, and `head` turns evidence into a probability of noise,
by noise that it injects itself.
"""

from iadsr_cli.crossfit.judge import Judge, Teaching

__all__ = ["Judge", "Teaching"]
