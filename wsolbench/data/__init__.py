"""Datasets, the decoded-image cache and device-side augmentation."""
