"""The conformance kit: small named checks that every method must pass, for built-ins and for plugins alike.

In a test file of your own::

    @pytest.mark.parametrize("check", checks("my_method.py"))
    def test_conforms(check):
        check()

On the command line: ``wsolbench check-method my_method.py``. The kit needs no pytest.
"""

from wsolbench.conformance.kit import Check, checks
from wsolbench.conformance.subject import CheckFailure

__all__ = ["Check", "CheckFailure", "checks"]
