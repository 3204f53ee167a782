"""What names the protocol in a record: its version, and the normalisation of its score maps.

Any change to a number the protocol can produce changes the version (PROTOCOL: preamble).
"""

PROTOCOL_VERSION = "1"

NORMALIZATION = "min-max"
"""Name of the protocol's normalisation; others are labelled variants."""
