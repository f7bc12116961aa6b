"""Names every link in the project's pages that leads to no file, or to no heading."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
OUTSIDE = {"instance", "node_modules", "vendor"}
ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:")


def dead_links(root: Path, pages: list[Path]) -> list[str]:
    """One sentence per link of `pages` that leads nowhere inside `root`; other sites are not asked."""
    return [
        f"{page.relative_to(root)} links to {target}, which does not exist"
        for page in pages
        for target in LINK.findall(CODE.sub("", FENCE.sub("", page.read_text())))
        if not ELSEWHERE.match(target) and not _leads_somewhere(root, page, target)
    ]


def _leads_somewhere(root: Path, page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    found = root / path.lstrip("/") if path.startswith("/") else page.parent / path
    found = found if path else page
    if not found.exists():
        return False
    return not anchor or found.suffix != ".md" or anchor in anchors(found.read_text())


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    plain = (
        re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", each) for each in HEADING.findall(FENCE.sub("", text))
    )
    return {re.sub(r"[^\w\- ]", "", each.strip().lower()).replace(" ", "-") for each in plain}


def pages_of(root: Path) -> list[Path]:
    """The Markdown pages, without those of environments and caches."""
    parts = ((path, path.relative_to(root).parts) for path in root.rglob("*.md"))
    return sorted(
        path for path, names in parts if not any(name in OUTSIDE or name[0] == "." for name in names)
    )


def main() -> int:
    """Prints what is dead; 1 if anything is."""
    dead = dead_links(PROJECT, pages_of(PROJECT))
    print(*dead, sep="\n", file=sys.stderr, end="\n" if dead else "")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
