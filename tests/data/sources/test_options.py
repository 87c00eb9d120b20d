"""What every source can be asked for is checked, and can be given as arguments of its own."""

import dataclasses
import inspect
from pathlib import Path

import pytest
from made_manifests import manifest_of
from refusals import refused

from medcls.data.manifest import Manifest
from medcls.data.sources.options import SourceOptions, takes_options
from medcls.data.sources.scan import ScanOptions


@takes_options
def source(root: Path, size: int = 3, *, options: SourceOptions) -> Manifest:
    """A source."""
    return dataclasses.replace(manifest_of(["a"] * size), root=root, positive=options.positive, notes=(options.frame,))


def test_options_are_given_as_arguments_of_the_source():
    manifest = source(Path("x"), positive="a", frame=2)
    assert (manifest.root, len(manifest), manifest.positive, manifest.notes) == (Path("x"), 3, "a", (2,))
    assert len(source(root=Path("x"), size=1)) == 1
    with pytest.raises(TypeError, match="frames"):
        source(Path("x"), frames=2)


def test_the_signature_lists_what_a_configuration_may_name():
    parameters = inspect.signature(source).parameters
    fields = [field.name for field in dataclasses.fields(SourceOptions)]
    assert list(parameters) == ["root", "size", *fields]
    assert parameters["root"].annotation is Path and parameters["masks"].default is None
    assert (source.__name__, source.__doc__) == ("source", "A source.")


@pytest.mark.parametrize("masks", ["drop", "", True, 0])
def test_masks_are_kept_or_left_out(masks):
    SourceOptions(masks="keep")
    with refused("bad_value", f"data.masks is {masks!r}"):
        source(Path("x"), masks=masks)


def test_how_files_are_read_is_passed_to_the_scan():
    options = SourceOptions(frame=4, remember=False, progress=print)
    assert options.scan == ScanOptions(4, False, print)
    assert SourceOptions().scan == ScanOptions()
