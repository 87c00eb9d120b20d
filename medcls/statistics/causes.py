"""Why a value is undefined: each cause is worded here, for every table that names it."""

NO_IMAGES = "the split has no images"
NO_ROWS = "there are no rows"
ONE_CLASS = "only one class has rows"
ONE_GROUP = "all images belong to one group"
SAME_PROBABILITY = "every row has the same probability"


def no_image_of(name: str) -> str:
    """The class has no image."""
    return f"no image of class {name!r}"


def no_image_but_of(name: str) -> str:
    """Every image is of the class, seen against all others."""
    return f"no image of any class but {name!r}"


def all_images_of(name: str) -> str:
    """Every image is of the class, of several classes."""
    return f"every image is of class {name!r}"


def none_predicted(name: str) -> str:
    """No prediction is this class."""
    return f"no image was predicted as {name!r}"


def all_predicted(name: str) -> str:
    """Every prediction is this class."""
    return f"every image was predicted as {name!r}"


def no_other_predicted(name: str) -> str:
    """No false positive: the positive likelihood ratio divides by their share."""
    return f"no image of another class was predicted as {name!r}, so it is infinite"


def all_others_predicted(name: str) -> str:
    """No true negative: the negative likelihood ratio divides by their share."""
    return f"every image of another class was predicted as {name!r}"
