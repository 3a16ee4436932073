"""The Python SDK: what the command line uses, and what services use to call each other.

from tessera.client import Tessera
"""

from tessera.client.collection_values import DecisionPolicy, DuplicatePolicy, OutlierPolicy, QualityGate
from tessera.client.joint_answers import EvidencePiece
from tessera.client.sdk import Tessera
from tessera.client.subject_values import Verdict

__all__ = ["DecisionPolicy", "DuplicatePolicy", "EvidencePiece", "OutlierPolicy", "QualityGate", "Tessera", "Verdict"]
