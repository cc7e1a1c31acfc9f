"""Reading any data set: items, images, views without augmentation, fingerprints and previews."""
