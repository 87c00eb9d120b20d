"""From files to batches: manifest, splits, images, loaders."""
