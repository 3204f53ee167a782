"""Records -> tables.

Data flows one way: :mod:`~wsolbench.leaderboard.model` sorts records into typed tables of
:mod:`~wsolbench.leaderboard.rows`; a layout (``sections``, ``costs``, ``wide``, ``ablations``) makes grids of text from
them, and beside the numbers says what papers print (``published``), how rows stand to a baseline (``significance``) and
why a number is not there (``missing``); a renderer (``markdown``, ``latex``, ``html``, ``tidy``) writes grids down.
:mod:`~wsolbench.leaderboard.pages` puts it together.
"""
