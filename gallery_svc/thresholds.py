"""From target error rates to thresholds, out of the calibrations that decide; nothing is guessed.

A calibration decides for its own model alone, against its own kind of impostors: the one that ships with its encoder,
or, against random ones, the one that was chosen since (`calibrations`). Searches are stated against random impostors
always: somebody who is not enrolled, as he is. A search of many subjects needs a lower FMR for each comparison than
the calibration may be able to state: `for_search` says so by raising, and whoever asked decides whether that is an
error (the caller named the rate) or an answer (the collection's own policy met a gallery that outgrew it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tessera.chassis.logs import get_logger
from tessera.domain.artifact import DEFAULT_ENCODERS, Manifest, available_encoders, load_calibrations_for, load_manifest
from tessera.domain.calibration import Calibration, Impostors, Threshold
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import InvalidInputError, NoCalibrationError, TesseraError
from tessera.domain.ids import CalibrationId, ModelId


class Thresholds:
    """The calibrations that decide, by model.

    Args:
        calibrations: those that ship with encoders; at most one for a model and a kind of impostors.
        default_models: for each modality, the model that new collections get.
        dimensions: length of an embedding, by model.
        modalities: what each model compares; of a calibrated one its calibration says it.
    """

    def __init__(
        self,
        calibrations: Iterable[Calibration],
        default_models: Mapping[Modality, ModelId],
        dimensions: Mapping[ModelId, int],
        modalities: Mapping[ModelId, Modality] | None = None,
    ) -> None:
        self._shipped = {(one.model_id, one.impostors): one for one in calibrations}
        self._deciding = dict(self._shipped)
        self._default_models = default_models
        self._dimensions = dimensions
        self._modalities = dict(modalities or {})

    def of_one_gallery(self) -> Thresholds:
        """The same, for a gallery that chooses for itself."""
        return Thresholds(self._shipped.values(), self._default_models, self._dimensions, self._modalities)

    # ---- which calibration decides

    def choose(self, model_id: ModelId, calibration: Calibration | None) -> None:
        """Decide by this calibration from now on, against random impostors.

        Args:
            model_id: for which model.
            calibration: of that model; None: the shipped one.
        """
        shipped = self.shipped_for(model_id)
        if calibration is not None:
            calibration.require_model(model_id)
            self._deciding[model_id, Impostors.RANDOM] = calibration
        elif shipped is not None:
            self._deciding[model_id, Impostors.RANDOM] = shipped
        else:
            self.withhold(model_id)

    def withhold(self, model_id: ModelId) -> None:
        """Decide nothing for this model against random impostors until a calibration is chosen."""
        self._deciding.pop((model_id, Impostors.RANDOM), None)

    def all_shipped(self) -> tuple[Calibration, ...]:
        """The calibrations that came with encoders."""
        return tuple(self._shipped.values())

    def deciding(self) -> tuple[Calibration, ...]:
        """The calibrations that decide now."""
        return tuple(self._deciding.values())

    def shipped_for(self, model_id: ModelId) -> Calibration | None:
        """The calibration against random impostors that came with an encoder, or None."""
        return self._shipped.get((model_id, Impostors.RANDOM))

    def shipped(self, calibration_id: CalibrationId) -> Calibration | None:
        """The shipped calibration of an id, or None."""
        return next((one for one in self._shipped.values() if one.calibration_id == calibration_id), None)

    def modality(self, model_id: ModelId) -> Modality:
        """What a model compares.

        Raises:
            InvalidInputError: nothing is known of it here.
        """
        known = {model: one.modality for (model, _), one in self._shipped.items()} | self._modalities
        if model_id not in known:
            raise InvalidInputError("model_id", model_id, "one of " + ", ".join(sorted(known)))
        return known[model_id]

    # ---- what models there are

    def require_dimensions(self, embedding: Embedding, field: str) -> None:
        """Refuse a vector that its model cannot have made.

        Raises:
            InvalidInputError: it has another length than the model's embeddings.
        """
        dimensions = self._dimensions.get(embedding.model_id, embedding.vector.size)
        if embedding.vector.size != dimensions:
            raise InvalidInputError(
                f"{field}.embedding.values", f"{embedding.vector.size} numbers", f"{dimensions} numbers"
            )

    def default_model(self, modality: Modality) -> ModelId:
        """The model that a new collection gets.

        Raises:
            InvalidInputError: no encoder of this modality ships with this version.
        """
        if modality not in self._default_models:
            raise InvalidInputError("modality", modality.value, ", ".join(sorted(self._default_models)))
        return self._default_models[modality]

    def calibration(self, model_id: ModelId, impostors: Impostors = Impostors.RANDOM) -> Calibration:
        """The calibration of a model.

        Args:
            model_id: any.
            impostors: against whom its rates are stated.

        Raises:
            NoCalibrationError: it has none.
        """
        found = self._deciding.get((model_id, impostors))
        if found is None:
            raise NoCalibrationError(model_id, "" if impostors is Impostors.RANDOM else impostors)
        return found

    def for_comparison(
        self,
        model_id: ModelId,
        target_fmr: float,
        *,
        impostors: Impostors = Impostors.RANDOM,
        templates: int = 1,
        allow_extrapolation: bool = False,
    ) -> Threshold:
        """The threshold of one claim.

        Args:
            model_id: that is compared with.
            target_fmr: of the whole claim.
            impostors: whose false matches it counts.
            templates: of the subject; the best of them counts.
            allow_extrapolation: go beyond what was measured, and say so.

        Raises:
            NoCalibrationError: the model has none.
            InvalidInputError: the target is no rate.
            CalibrationTooSmallError: the data cannot carry the target.
        """
        return self.calibration(model_id, impostors).threshold_for_fmr(
            target_fmr, templates=templates, allow_extrapolation=allow_extrapolation
        )

    def for_search(
        self, model_id: ModelId, target_fpir: float, gallery_size: int, *, allow_extrapolation: bool = False
    ) -> Threshold:
        """The threshold of a search of `gallery_size` subjects.

        Raises:
            NoCalibrationError: the model has none.
            InvalidInputError: the target is no rate.
            CalibrationTooSmallError: the data cannot carry the target for so many subjects.
        """
        return self.calibration(model_id).threshold_for_fpir(
            target_fpir, gallery_size, allow_extrapolation=allow_extrapolation
        )


def shipped_thresholds(folders: Sequence[Path] = ()) -> Thresholds:
    """The calibrations and default models of the encoders that ship with this version, and of those in `folders`.

    An encoder in `folders` decides for its own model alone: it never becomes the default of new collections. One that
    cannot be read is left out, so that a damaged import takes no gallery away.
    """
    shipped = [(load_manifest(name), load_calibrations_for(name)) for name in available_encoders()]
    brought = _readable(sorted(set(available_encoders(folders)) - set(available_encoders())), folders)
    found = [calibration for _, calibrations in (*shipped, *brought) for calibration in calibrations]
    calibrated = {calibration.model_id for calibration in found}
    return Thresholds(
        found,
        _default_models([manifest for manifest, _ in shipped], calibrated),
        {manifest.model_id: manifest.dimensions for manifest, _ in (*shipped, *brought)},
        {manifest.model_id: manifest.modality for manifest, _ in (*shipped, *brought)},
    )


def _readable(names: Iterable[str], folders: Sequence[Path]) -> list[tuple[Manifest, tuple[Calibration, ...]]]:
    readable: list[tuple[Manifest, tuple[Calibration, ...]]] = []
    for name in names:
        try:
            readable.append((load_manifest(name, folders), load_calibrations_for(name, folders)))
        except (TesseraError, OSError, UnicodeDecodeError) as error:
            get_logger().error("encoder.unreadable", encoder=name, error=str(error))
    return readable


def _default_models(manifests: Iterable[Manifest], calibrated: set[ModelId]) -> dict[Modality, ModelId]:
    defaults: dict[Modality, ModelId] = {}

    # The default if it can decide, then the first by name that can; one without a calibration only as the last resort.
    def precedence(m: Manifest) -> tuple[bool, bool, str]:
        return m.model_id not in calibrated, m.name != DEFAULT_ENCODERS.get(m.modality), m.name

    for manifest in sorted(manifests, key=precedence):
        defaults.setdefault(manifest.modality, manifest.model_id)
    return defaults
