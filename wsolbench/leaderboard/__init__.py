"""Records -> tables.

Data flows one way: :mod:`~wsolbench.leaderboard.model` sorts records into typed tables, a layout
(:mod:`~wsolbench.leaderboard.sections`, :mod:`~wsolbench.leaderboard.wide`, :mod:`~wsolbench.leaderboard.ablations`)
makes grids of text from them, and a renderer (:mod:`~wsolbench.leaderboard.markdown`,
:mod:`~wsolbench.leaderboard.latex`, :mod:`~wsolbench.leaderboard.html`, :mod:`~wsolbench.leaderboard.tidy`) writes them
down. :mod:`~wsolbench.leaderboard.pages` puts it together.
"""
