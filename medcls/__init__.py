"""medcls: a small set of labelled medical images in, a classifier whose numbers can be believed out.

Research use; not a medical device.
"""

__version__ = "0.1.0"
