"""The policies that collections have and enrolments name, between numbers and values."""

from __future__ import annotations

from gallery_svc.store.collection_records import DuplicatePolicy, OutlierPolicy
from tessera.domain.errors import InvalidInputError
from tessera.v1 import collection_pb2

DUPLICATE, OUTLIER = "DUPLICATE_POLICY_", "OUTLIER_POLICY_"
"""What the names of the numbers begin with."""


def duplicate_policy_from(number: collection_pb2.DuplicatePolicy.ValueType) -> DuplicatePolicy | None:
    """What an enrolment does with duplicates; None: not said.

    Raises:
        InvalidInputError: a number that is none.
    """
    names = {value: name.removeprefix(DUPLICATE) for name, value in collection_pb2.DuplicatePolicy.items()}
    if number and number not in names:
        raise InvalidInputError("duplicate_policy", number, ", ".join(DuplicatePolicy))
    return DuplicatePolicy(names[number]) if number else None


def outlier_policy_from(number: collection_pb2.OutlierPolicy.ValueType) -> OutlierPolicy | None:
    """What an enrolment does with outliers; None: not said.

    Raises:
        InvalidInputError: a number that is none.
    """
    names = {value: name.removeprefix(OUTLIER) for name, value in collection_pb2.OutlierPolicy.items()}
    if number and number not in names:
        raise InvalidInputError("outlier_policy", number, ", ".join(OutlierPolicy))
    return OutlierPolicy(names[number]) if number else None
