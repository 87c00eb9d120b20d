"""Serve a trained model as a page and an endpoint: `python -m medcls.serve run=RUN`."""

from __future__ import annotations

import logging
import os

from omegaconf import DictConfig

from medcls.cli import serving as settings
from medcls.cli.entry_point import run_command

# Not __name__, which is __main__ when the file runs as a module.
log = logging.getLogger("medcls.serve")


def main() -> None:
    """Run the command."""
    run_command(run, "serve")


def run(cfg: DictConfig) -> None:
    """Serve until the process is interrupted, with the configuration `cfg` (see `conf/serve.yaml`).

    Parameters
    ----------
    cfg : DictConfig

    Raises
    ------
    MedclsError
        A value is not allowed, the port is in use, or the model cannot be loaded.
    """
    from medcls.workflow import terminal

    terminal.start_log(cfg.verbose)
    chosen = settings.read_settings(cfg)

    from medcls.data.reading.decoded import LIMIT
    from medcls.serving.endpoint import endpoint
    from medcls.serving.guard import Access, Guard
    from medcls.serving.measurements import Measurements
    from medcls.serving.private_folder import private_folder
    from medcls.serving.server import LOOPBACK, address, is_loopback, listen, serve
    from medcls.serving.service import Service

    limits, is_local = chosen.limits, is_loopback(chosen.host)
    os.environ[LIMIT] = str(limits.pixels)  # where images are decoded
    with listen(chosen.host, chosen.port) as opened, private_folder() as uploads:
        model, explain = settings.load_model(cfg)
        measurements = Measurements(model, settings.reference_of(chosen.run, model))
        service = Service(model, limits, measurements, explain)
        try:
            app = endpoint(service)
            if chosen.page:
                from medcls.serving.page import mount_page

                mount_page(app, service, uploads, settings.csv_format(model))
            access = Access(chosen.password, LOOPBACK if is_local else None, uploads)
            if not is_local and chosen.password is None:
                log.warning(
                    "other machines reach this server without a password: set MEDCLS_PASSWORD, or leave host out",
                    extra={"rule": "no_password"},
                )
            what = "page and endpoint" if chosen.page else "endpoint"
            log.info("%s of %s: %s", what, model.name, address(opened), extra={"rule": "serving"})
            serve(Guard(app, access, limits, measurements), opened)
        finally:
            service.close()


if __name__ == "__main__":
    main()
