"""Values of settings that several commands check in the same way."""

from collections.abc import Mapping

from omegaconf import DictConfig

from medcls.cli.building import plain
from medcls.errors import MedclsError


def check_integers(cfg: DictConfig, smallest: Mapping[str, int]) -> None:
    """Refuse settings that are no whole number, or less than the smallest allowed.

    Raises
    ------
    MedclsError
        Names the setting.
    """
    for name, least in smallest.items():
        if isinstance(cfg[name], bool) or not isinstance(cfg[name], int) or cfg[name] < least:
            raise MedclsError(f"{name} is {cfg[name]!r}: give a whole number, at least {least}.", kind="bad_value")


def texts(cfg: DictConfig, name: str, what: str, command: str) -> list[str]:
    """The values of a setting that is one text or a list of texts.

    Parameters
    ----------
    name : str
        Of the setting.
    what : str
        Names what it stands for.
    command : str
        An example of the command: `python -m medcls.predict run=RUN images=FOLDER`.

    Raises
    ------
    MedclsError
        It is neither, or empty.
    """
    value = plain(cfg[name])
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, str | int) and str(one) for one in values):
        raise MedclsError(f"{name} is {value!r}: give {what}, as {command}.", kind="missing_setting")
    return [str(one) for one in values]
