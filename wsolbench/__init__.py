"""wsolbench: one protocol, one engine and one leaderboard for weakly supervised object localization."""

__version__ = "0.1.0"
