"""Whether images that judged an earlier run are now to be learned from, in the words of the checks."""

from collections.abc import Mapping

from medcls.auditing.checks import Met
from medcls.data.locked import met_in_training
from medcls.data.manifest import Manifest


def locked_tests(divided: Manifest | None, settings: Mapping[str, object]) -> list[Met] | None:
    """What `check` takes as `locked`.

    Parameters
    ----------
    divided : Manifest or None
        With its splits made; None where it cannot be split.
    settings : mapping
        What the splits were cut by, as `medcls.data.locked.remember_test` takes it.

    Returns
    -------
    list of Met, or None
        An error where the same settings gave another split, because the images have changed; information where
        other settings dealt the images out anew, as was asked. None without splits.
    """
    if divided is None:
        return None
    return [
        Met(
            meeting.run,
            meeting.date,
            len(meeting.paths),
            meeting.paths,
            "error" if meeting.same_settings else "information",
        )
        for meeting in met_in_training(divided, settings)
    ]
