"""The Python SDK: what the command line uses, and what services use to call each other.

from tessera.client import Tessera
"""

from tessera.client.sdk import Tessera

__all__ = ["Tessera"]
