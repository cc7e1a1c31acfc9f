"""Data sets for object detection and segmentation: their images, or each of their boxes as a sample with its class."""
