"""`python -m encoder_svc.prepare`: all that an encoder fetches, converts and compiles, done before it is run.

For images and machines whose encoder is to start without a network, without a C++ compiler and within seconds. Reads
the same settings as the service, so that the cache holds what the service will look for. Serves nothing.
"""

from __future__ import annotations

import sys

from encoder_svc.device import choose_device
from encoder_svc.loading import describe_encoder, load_pipeline, may_compile
from encoder_svc.settings import PREFIX, EncoderSettings
from tessera.chassis.encoder_folders import encoder_folders
from tessera.chassis.logs import configure_logs, get_logger
from tessera.chassis.settings import load_settings
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError, InvalidInputError, NotFoundError
from tessera.nets.compilation import compile_networks
from tessera.nets.runtime import RuntimeUnavailableError


def prepare(settings: EncoderSettings) -> None:
    """Fill the cache for each encoder that the settings name.

    Raises:
        ArtifactError: weights cannot be had.
        NotFoundError: an encoder is not there.
    """
    compiles = may_compile(settings, choose_device(settings.device))
    for name in settings.wanted_encoders:
        manifest = describe_encoder(name).manifest
        load_pipeline(settings, manifest)
        if not (compiles and manifest.modality is not Modality.SIGNATURE):
            get_logger().info("prepare.done", encoder=name, compiled=False)
            continue
        try:
            compile_networks(name, settings.weights_cache_dir, folders=encoder_folders())
            get_logger().info("prepare.done", encoder=name, compiled=True)
        except RuntimeUnavailableError as error:
            get_logger().warning("prepare.stays_eager", encoder=name, error=str(error))


def main() -> int:
    """Prepare what the environment names.

    Returns:
        0; 3 when something is wrong with the settings, 1 when weights cannot be had.
    """
    configure_logs("encoder")
    try:
        prepare(load_settings(EncoderSettings, PREFIX))
    except InvalidInputError as error:
        get_logger().error("prepare.refused", field=error.field, error=str(error))
        return 3
    except (ArtifactError, NotFoundError) as error:
        get_logger().error("prepare.failed", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
