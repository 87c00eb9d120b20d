"""Settings of an evaluation, as `conf/evaluation/default.yaml` has them."""

from typing import Any

import yaml

from medcls.cli.shipped import configurations
from medcls.workflow.report_settings import ReportSettings


def plain_settings(**settings) -> dict[str, Any]:
    """The shipped settings and `seed`, with some of them changed."""
    path = configurations() / "conf" / "evaluation" / "default.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) | {"seed": 0, "resamples": 100} | settings


def evaluation_settings(**settings) -> ReportSettings:
    """The same, read."""
    return ReportSettings.read(plain_settings(**settings))
