"""Figures for papers: records in, pictures and their captions out.

:mod:`~wsolbench.report.figures.gallery` is the main path; every other module draws one kind of figure from plain data.
"""
