"""Arrays in, arrays out: metrics, intervals, resampling."""
