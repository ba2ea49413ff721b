"""Words that no committed file may hold: addresses of registries, paths of one machine, talk about how it was made."""

import re
from collections.abc import Iterator

__all__ = ["word_offenses"]

# Written in pieces, so that this file does not offend against itself.
_HOSTS = (
    "pypi" + ".org", "python" + "hosted.org", "registry.npm" + "js.org", "repo1." + "maven", "repo.maven" + ".apache",
    "proxy." + "golang.org", "crates" + ".io", "deb." + "debian.org", "index" + "-url=http", "index" + "-url http",
)  # fmt: skip
_PATHS = ("/wor" + "k/", "/ro" + "ot/", "/far" + "m", "/opt/" + "wheels", "/.py" + "env/", "/Us" + "ers/")
_TALK = (
    r"\bissue" + r" #?\d", r"\bai[- ]" + r"(?:agent|assistant|generated)", r"\bsub" + r"agents?\b",
    r"\bcl" + r"aude\b", r"\banth" + r"ropic\b", r"\bchat" + r"gpt\b", r"\bthe le" + r"ad\b",
    r"\b(?:this|the) session" + r"'?s? (?:task|brief|report)", r"\bhelper " + r"(?:session|agent)",
)  # fmt: skip
_LATER = (r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bX" + r"XX\b", r"\bNotImpl" + r"ementedError\b")
_SHARED = ".." + "/shared"

_FORBIDDEN = [
    (re.compile("|".join(re.escape(host) for host in _HOSTS)), "an address of a registry"),
    (re.compile(r"(?<![\w.)}])(?:" + "|".join(re.escape(path) for path in _PATHS) + ")"), "a path of one machine"),
    (re.compile("|".join(_TALK), re.IGNORECASE), "talk about how the code was made"),
    (re.compile("|".join(_LATER)), "something left for later"),
]


def word_offenses(path: str, text: str) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of each forbidden word in one file; `path` is relative to the checkout's root."""
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern, meaning in _FORBIDDEN:
            found = pattern.search(line)
            if found:
                yield number, f"{meaning}: {found[0]!r}"
        if _SHARED in line and path != ".ci/run":
            yield number, f"only .ci/run names {_SHARED}; take PARCOURS_TEST_DATA from the environment"
