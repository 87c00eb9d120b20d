"""Windows over many pixels take a short way; what comes out is what the long way gives."""

import numpy as np
import pytest

from medcls.data.reading import windows

SHARES = (0, 0.5, 33.3, 50, 99.5, 100)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        (np.uint8, 0, 255),
        (np.uint16, 0, 65_535),
        (np.int16, -32_768, 32_767),
        (np.int32, -1024, 3071),
        (np.int32, -70_000, 70_000),
        (np.int64, 2**62, 2**62 + 9),
        (np.float32, 0, 4095),
    ],
)
@pytest.mark.parametrize("n", [3, windows.NARROW, windows.NARROW + 1, 3 * windows.NARROW + 7])
def test_many_values_get_the_percentiles_and_the_pixels_that_few_get(kind, low, high, n):
    values = np.random.default_rng(n).integers(low, high, n, dtype=np.int64, endpoint=True).astype(kind)
    expected = tuple(np.percentile(values, SHARES, method="inverted_cdf").astype(float))
    assert windows.percentiles(values, SHARES) == expected
    black, white = expected[1], expected[-2]
    for bits in (8, 16):
        few = [windows.spread(part, black, white, bits) for part in np.array_split(values, 8)]
        assert np.array_equal(windows.spread(values, black, white, bits), np.concatenate(few))


def test_of_many_equal_values_each_is_every_percentile():
    assert windows.percentiles(np.full(100_000, 7, np.uint16), SHARES) == (7.0,) * len(SHARES)


def test_the_place_of_a_percentile_is_exact_where_it_is_a_whole_number():
    # Of 200,000 values the thousandth is the 0.5th percentile, and not its neighbour.
    values = np.arange(200_000) // 4
    assert windows.percentiles(values.astype(np.uint16), (0.5, 99.5)) == (999 // 4, 198_999 // 4)
