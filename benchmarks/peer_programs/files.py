"""Images from their files, each changed by itself by torchvision: what loops without a cache read from."""

from pathlib import Path

from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.peer_programs import MEAN, STD


def loader(folder: Path, batch: int, size: int, workers: int) -> DataLoader:
    """Decode, resize, flip, rotate and normalise image by image, in so many processes, which live on between epochs."""
    change = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    images = ImageFolder(folder, change)
    return DataLoader(images, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
