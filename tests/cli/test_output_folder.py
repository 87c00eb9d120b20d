"""The folder of a command is claimed, and left as it was if the command did not begin."""

import pytest
from composed_settings import typed_settings
from refusals import refused

from medcls.cli.output_folder import claimed_folder


def test_an_empty_folder_is_claimed_and_kept_once_the_command_began(tmp_path):
    place = tmp_path / "audits" / "one"
    place.mkdir(parents=True)
    with typed_settings("audit", folder=place):
        with claimed_folder() as folder:
            assert folder.path == place
            with refused("run_in_progress", str(place)), claimed_folder():
                pytest.fail("another command has it")
            folder.begin("audit.log")
        assert (place / "audit.log").is_file()
        with claimed_folder() as again:  # released
            assert again.path == place


def test_the_folder_of_a_command_that_did_not_begin_is_removed_whatever_ended_it(tmp_path):
    place = tmp_path / "audits" / "one"
    place.mkdir(parents=True)
    with typed_settings("audit", folder=place), pytest.raises(KeyError), claimed_folder():
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_results_is_refused_and_left_alone(tmp_path):
    (tmp_path / "audit.html").touch()
    with typed_settings("audit", folder=tmp_path):
        for _ in range(2):  # it is not left locked
            with refused("folder_taken", str(tmp_path), "hydra.run.dir"), claimed_folder():
                pytest.fail("it is another's")
    assert [path.name for path in tmp_path.iterdir()] == ["audit.html"]
