"""Check the links of every Markdown file: the file exists, and the heading that an anchor names.

What stands in code as a path of this checkout (`tests/unit/`) or as a target of make (`make run`) must exist as well.
Links to other hosts are not followed. Prints one line per broken link; the exit code is 1 if there is any.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s+\".*\")?\s*$")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$")
FENCE = re.compile(r"^\s*(```|~~~)")
CODE = re.compile(r"`([^`]+)`")
PATH = re.compile(r"(\.?[\w-]+)/[\w./-]*")
COMMAND = re.compile(r"make ([a-z-]+)\b.*")
OUTSIDE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def prose_lines(text: str) -> Iterator[tuple[int, str]]:
    """(line number, line) of what is outside code fences."""
    fence: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        found = FENCE.match(line)
        if found and fence in (None, found[1]):
            fence = None if fence else found[1]
        elif fence is None:
            yield number, line


def anchors(text: str) -> set[str]:
    """The anchors that the headings of a Markdown text have, as forges and site builders make them."""
    found: set[str] = set()
    fence = False
    for line in text.splitlines():
        if FENCE.match(line):
            fence = not fence
        heading = None if fence else HEADING.match(line)
        if heading is None:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        name, count = slug, 0
        while name in found:
            count += 1
            name = f"{slug}-{count}"
        found.add(name)
    return found


def broken_links(path: Path) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of each link of one file that leads nowhere."""
    text = path.read_text(encoding="utf-8")
    for number, line in prose_lines(text):
        yield from ((number, f"`{code}`: there is no such thing here") for code in stale_code(line))
        prose = CODE.sub("", line)
        targets = [*LINK.findall(prose), *REFERENCE.findall(prose)]
        for target in targets:
            if OUTSIDE.match(target):
                continue
            place, _, anchor = unquote(target).partition("#")
            file = (path.parent / place) if place else path
            if not file.exists():
                yield number, f"{target}: there is no such file"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8")):
                yield number, f"{target}: there is no such heading"


def stale_code(line: str) -> Iterator[str]:
    """What a line shows as a path of this checkout or as a make target, and is none."""
    for code in CODE.findall(line):
        path, command = PATH.fullmatch(code), COMMAND.fullmatch(code)
        if path and (ROOT / path[1]).is_dir() and not (ROOT / code).exists():
            yield code
        if command and command[1] not in TARGETS:
            yield code


def markdown_files() -> list[Path]:
    """Every Markdown file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def main() -> int:
    """Check all files; returns the exit code."""
    broken = [
        f"{path.relative_to(ROOT)}:{number}: {problem}"
        for path in markdown_files()
        for number, problem in broken_links(path)
    ]
    print("\n".join(broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
