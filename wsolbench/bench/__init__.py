"""``wsolbench bench``: a grid of methods, datasets, backbones and seeds, or the whole of a paper's table.

``runner`` is the path: plan every run (``grid``, ``recipes``), say what will be done and how long it takes
(``estimate``, ``probe``, ``words``), run (``schedule`` decides, ``workers`` and ``child`` are the processes, ``board``
shows), say what came of it.
"""
