"""``wsolbench report``: one HTML page with everything that is behind a leaderboard.

``data`` gathers plain values from records, hits, maps and datasets (``columns``, ``tables``, ``runs``, ``scores``,
``sets``, ``pictures``); ``writer`` puts them into one file with what lies in ``assets``.
"""
