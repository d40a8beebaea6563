"""Shared by all tests: no network, and one thread, so that results do not depend on the machine's load."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
