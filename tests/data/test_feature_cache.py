"""Features kept on disk: found again, made anew where damaged, listed and cleared."""

import numpy as np

from medcls.data import cache
from medcls.data.feature_cache import FeatureCache
from medcls.preprocessing import Preprocessing

SEEN = Preprocessing(32, (0.5,) * 3, (0.5,) * 3)


def names(*numbers):
    return np.array([f"{number:032x}".encode() for number in numbers])


def features(*numbers):
    return np.array([[number, number / 2] for number in numbers], np.float32)


def test_what_was_kept_is_found_whatever_the_order(own_cache):
    kept = FeatureCache({"name": "a"}, SEEN)
    kept.add(names(1, 2), features(1, 2))
    kept.add(names(2, 3, 3), features(2, 3, 3))
    found, place = FeatureCache({"name": "a"}, SEEN).find(names(3, 9, 1))
    assert place.tolist()[1] == -1 and len(found) == 3
    np.testing.assert_array_equal(found[place[[0, 2]]], features(3, 1))


def test_another_network_or_preprocessing_has_its_own(own_cache):
    FeatureCache({"name": "a"}, SEEN).add(names(1), features(1))
    for other in (
        FeatureCache({"name": "b"}, SEEN),
        FeatureCache({"name": "a"}, Preprocessing(48, SEEN.mean, SEEN.std)),
    ):
        assert (other.find(names(1))[1] == -1).all()


def test_a_damaged_archive_is_made_anew(own_cache, caplog):
    kept = FeatureCache({"name": "a"}, SEEN)
    kept.add(names(1), features(1))
    content = bytearray(kept.path.read_bytes())
    content[content.index(features(1).tobytes())] ^= 255
    kept.path.write_bytes(bytes(content))
    assert (kept.find(names(1))[1] == -1).all()
    assert [record.rule for record in caplog.records] == ["cache_damaged"]
    kept.add(names(1), features(1))
    np.testing.assert_array_equal(kept.find(names(1))[0], features(1))


def test_the_cache_command_lists_and_clears_it(own_cache):
    FeatureCache({"name": "a"}, SEEN).add(names(1, 2), features(1, 2))
    (listed,) = cache.everything()
    assert listed.images == 2 and "a" in listed.what
    assert cache.clear(listed)
    assert cache.everything() == []
