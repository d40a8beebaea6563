"""Logs and outputs at addresses: copied to this machine before the work, and sent when they are whole."""

from iadsr_cli.remote.staging import Staging, staged

__all__ = ["Staging", "staged"]
