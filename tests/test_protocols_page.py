"""The examples of docs/protocols.md are run as they stand, one after the other."""

import doctest
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "protocols.md"


def blocks():
    text = PAGE.read_text(encoding="utf-8")
    found = re.finditer(r"```pycon\n(.*?)```", text, re.DOTALL)
    return [(match[1], text[: match.start()].count("\n") + 1) for match in found]


def test_every_example_gives_what_the_page_says():
    parser, runner, names = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False), {}
    for source, line in blocks():
        test = parser.get_doctest(source, {}, f"protocols.md:{line}", str(PAGE), line)
        test.globs = names  # later examples use what earlier ones made
        runner.run(test, clear_globs=False)
    assert runner.tries > 30
    assert runner.failures == 0


def test_every_block_is_a_block_of_examples():
    assert PAGE.read_text(encoding="utf-8").count("```") == 2 * len(blocks())
