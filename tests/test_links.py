"""The check of the pages' links sees a dead one, and only that."""

from __future__ import annotations

from scripts.links import PROJECT, dead_links, pages_of


def test_no_page_of_the_project_has_a_dead_link():
    assert dead_links(PROJECT, pages_of(PROJECT)) == []


def test_dead_links_are_named_and_living_ones_are_not(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("# One `call`, followed\n")
    page = tmp_path / "a.md"
    page.write_text(
        "[b](docs/b.md) [h](docs/b.md#one-call-followed) [site](https://example.com/x) ![i](/docs/b.md)\n"
        "`[code](nowhere.md)`\n```\n[fenced](nowhere.md)\n```\n"
        "[gone](docs/c.md) [no heading](docs/b.md#two)\n"
    )
    assert dead_links(tmp_path, [page]) == [
        "a.md links to docs/c.md, which does not exist",
        "a.md links to docs/b.md#two, which does not exist",
    ]
