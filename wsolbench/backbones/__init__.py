"""Backbones with named points."""
