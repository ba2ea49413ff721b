"""What tests counted, printed at the end of the run, whichever process ran them."""

import pytest

__all__ = ["pytest_terminal_summary", "tell"]

_COUNTED = "counted"


def tell(item: pytest.Item, line: str) -> None:
    """Have a line printed at the end of the run. Called before the item's report of its teardown is made."""
    item.user_properties.append((_COUNTED, line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines; a report carries them also from another process."""
    reports = [each for kind in terminalreporter.stats.values() for each in kind if isinstance(each, pytest.TestReport)]
    lines = [
        str(line)
        for each in reports
        if each.when == "teardown"
        for name, line in each.user_properties
        if name == _COUNTED
    ]
    if lines:
        terminalreporter.section("counted")
        for line in lines:
            terminalreporter.write_line(line)
