"""The version of the protocol. Any change to a number the protocol can produce changes it (PROTOCOL: preamble)."""

PROTOCOL_VERSION = "1"
