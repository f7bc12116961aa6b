"""Reads the imports of flaskapp/ and names, in a sentence, each one that does not run downwards."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

# From the ground up; the first pattern that fits a module says where it stands.
FLOORS: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (
        1,
        "words",
        (
            *(f"flaskapp.phone.{name}" for name in ("events", "commands", "audio", "agent", "transcript")),
            *(f"flaskapp.phone.{name}" for name in ("errors", "directives", "cost", "reasons", "ailments")),
        ),
    ),
    (
        2,
        "codecs and call",
        (
            *(
                f"flaskapp.phone.{name}"
                for name in ("call", "conversation", "intake", "playout", "documents")
            ),
            *(f"flaskapp.phone.{name}" for name in ("recovery", "resume", "next_step", "farewell", "voice")),
            *(
                f"flaskapp.phone.{name}"
                for name in ("listener", "tools", "built_in", "tool_calls", "endings")
            ),
            *(
                f"flaskapp.phone.{name}"
                for name in (
                    "agent_track",
                    "digits",
                    "consent",
                    "greeting",
                    "keypad",
                    "past",
                    "passed_on",
                    "talk",
                    "exits",
                    "attention",
                )
            ),
            *("flaskapp.phone.chunks", "flaskapp.phone.resampling", "flaskapp.phone.payloads"),
            *("flaskapp.phone.carriers", "flaskapp.phone.carriers.*"),
            *("flaskapp.phone.engines", "flaskapp.phone.engines.realtime"),
        ),
    ),
    (
        3,
        "rim",
        (
            *(
                f"flaskapp.phone.{name}"
                for name in (
                    "wire",
                    "inlet",
                    "occasional",
                    "handshake",
                    "tls",
                    "reader",
                    "frames",
                    "outbox",
                    "waiting",
                    "giving_way",
                    "bridge",
                    "feed",
                )
            ),
            *(
                "flaskapp.phone.script_leg",
                "flaskapp.phone.recording",
                "flaskapp.phone.turn_lines",
                "flaskapp.phone.exotel",
            ),
            *(
                "flaskapp.phone.rtmt_audio_handler",
                "flaskapp.phone.deeds",
                "flaskapp.phone.fast_path",
                "flaskapp.phone.reader",
            ),
            *("flaskapp.phone.breaker", "flaskapp.phone.fetch", "flaskapp.phone.leftovers"),
            *("flaskapp.phone.errands", "flaskapp.phone.flow", "flaskapp.phone.payloads"),
            *("flaskapp.phone.playback", "flaskapp.phone.post_mortem"),
            *("flaskapp.phone.doorstep", "flaskapp.phone.tap"),
            *("flaskapp.phone.toolbench", "flaskapp.phone.transfers", "flaskapp.phone.after_call"),
            *("flaskapp.phone.resumption", "flaskapp.phone.turn_tools", "flaskapp.drain"),
            *("flaskapp.phone.troubles", "flaskapp.phone.twilio_rest", "flaskapp.phone.webhook_setup"),
            *("flaskapp.phone.engines.*", "flaskapp.store", "flaskapp.store.*"),
            *(
                f"flaskapp.{name}"
                for name in ("config", "engine_settings", "kinds", "addresses", "signing", "lean", "tidying")
            ),
            *(f"flaskapp.{name}" for name in ("redaction", "metrics", "observability", "tickets", "parts")),
            "flaskapp.log_stream",
        ),
    ),
    (4, "desk", ("flaskapp.phone.ai_integration",)),
    (
        5,
        "web",
        (
            *("flaskapp", "flaskapp.dashboard", "flaskapp.dashboard.*", "flaskapp.api", "flaskapp.api.*"),
            *(
                f"flaskapp.{name}"
                for name in (
                    "access",
                    "cookies",
                    "exotel_access",
                    "health",
                    "problems",
                    "command",
                    "local",
                    "children",
                    "worker",
                )
            ),
            *("flaskapp.phone", "flaskapp.phone.routes", "flaskapp.phone.sockets"),
            *("flaskapp.phone.recorded", "flaskapp.phone.uploads", "flaskapp.phone.registry"),
            *("flaskapp.phone.admission", "flaskapp.phone.transferred", "flaskapp.phone.claims"),
            *("flaskapp.phone.allowance", "flaskapp.phone.server_socket", "flaskapp.phone.room"),
            *("flaskapp.phone.exotel_applets", "flaskapp.phone.coming_back", "flaskapp.phone.viewers"),
            *(f"flaskapp.phone.{name}" for name in ("going_on", "leaving", "exotel_flow", "browser_calls")),
            *(
                "flaskapp.phone.cli",
                "flaskapp.phone.purge",
                "flaskapp.phone.doctor",
                "flaskapp.phone.self_report",
            ),
            *("flaskapp.phone.checks", "flaskapp.phone.checks.*", "flaskapp.phone.*_commands"),
        ),
    ),
)
NEIGHBOURS = ("localai", "simulator")
MAY_VISIT_NEIGHBOURS = "flaskapp.phone.cli"
NEIGHBOURS_MAY_USE = ("flaskapp.phone.audio", "flaskapp.phone.errors")

# Time is an argument down there, and waiting is for the rim.
CLOCKS_AND_SOCKETS = frozenset(
    [
        "time",
        "socket",
        "socketserver",
        "select",
        "selectors",
        "ssl",
        "threading",
        "asyncio",
        "multiprocessing",
        "concurrent",
        "queue",
        "sched",
        "signal",
        "subprocess",
        "http",
        "ftplib",
        "smtplib",
        "urllib.request",
    ]
)
# What the two lower floors may use beside the standard library: (module, package, only inside functions).
ALLOWED = {
    ("flaskapp.phone.audio", "audioop", False),
    ("flaskapp.phone.audio", "numpy", True),
    ("flaskapp.phone.audio", "soxr", True),
    ("flaskapp.phone.resampling", "numpy", True),
    ("flaskapp.phone.resampling", "soxr", True),
    ("flaskapp.phone.agent", "yaml", True),
    ("flaskapp.phone.events", "msgspec", False),
    ("flaskapp.phone.tools", "pydantic", False),
    ("flaskapp.phone.built_in", "pydantic", False),
    ("flaskapp.phone.documents", "twilio", False),
    ("flaskapp.phone.carriers.*", "twilio", False),
    ("flaskapp.phone.carriers.*", "msgspec", False),
    ("flaskapp.phone.engines.*", "msgspec", False),
    ("flaskapp.phone.payloads", "msgspec", False),
}


@dataclass(frozen=True)
class Arrow:
    """One import: who, what, where, and whether it happens while the module is being imported."""

    source: str
    target: str
    line: int
    at_module_level: bool


def complaints(root: Path = PROJECT) -> list[str]:
    """One sentence per import that breaks a rule of docs: empty is well."""
    files = {_module_name(root, path): path for path in sorted((root / "flaskapp").rglob("*.py"))}
    said: list[str] = []
    for module, path in files.items():
        where = path.relative_to(root)
        if not _is_neighbour(module) and _floor(module) is None:
            said.append(f"{where} stands on no floor: give it one in scripts/layers.py")
            continue
        for arrow in _arrows(module, path, set(files)):
            if complaint := _complaint(arrow, path.name == "__init__.py"):
                said.append(f"{where}:{arrow.line} {complaint}")
    return said


def _complaint(arrow: Arrow, is_package: bool) -> str | None:
    inside = arrow.target == "flaskapp" or arrow.target.startswith("flaskapp.")
    if _is_neighbour(arrow.source):
        return _neighbours_complaint(arrow) if inside else None
    if inside and _is_neighbour(arrow.target):
        return _visitors_complaint(arrow)
    if (
        is_package
        and arrow.at_module_level
        and (inside or _root(arrow.target) not in sys.stdlib_module_names)
    ):
        return f"imports {arrow.target} as soon as the package is touched: do it inside a function"
    return _upward(arrow) or _sideways(arrow) if inside else _foreign(arrow)


def _upward(arrow: Arrow) -> str | None:
    here, there = _floor(arrow.source), _floor(arrow.target)
    if here is None or there is None or there[0] <= here[0]:
        return None
    return (
        f"stands on floor {here[0]} ({here[1]}) and imports {arrow.target}"
        f" from floor {there[0]} ({there[1]}): imports run downwards only"
    )


def _sideways(arrow: Arrow) -> str | None:
    """Carriers know neither engines nor each other, and the call knows none of them."""
    for kind, other in (("carriers", "engines"), ("engines", "carriers")):
        if f".{kind}." in arrow.source and _floor(arrow.source) == (2, "codecs and call"):
            if f".{other}" in arrow.target:
                return f"is one of the {kind} and imports {arrow.target}: {kind} do not know {other}"
            if f".{kind}." in arrow.target and not arrow.target.endswith(".base"):
                return f"imports {arrow.target}: {kind} do not know each other"
    if arrow.source == "flaskapp.phone.call" and (".carriers" in arrow.target or ".engines" in arrow.target):
        return f"imports {arrow.target}: the call knows events and commands, not who carries them"
    return None


def _foreign(arrow: Arrow) -> str | None:
    floor = _floor(arrow.source)
    number = floor[0] if floor else 5
    if number == 4 and _root(arrow.target) == "flask":
        return "stands on floor 4 (desk) and imports flask: the desk is used without a Flask app too"
    if number > 2:
        return None
    if arrow.target in CLOCKS_AND_SOCKETS or _root(arrow.target) in CLOCKS_AND_SOCKETS:
        return f"imports {arrow.target} on floor {number}: clocks, sockets and waiting are for the rim"
    if _root(arrow.target) in sys.stdlib_module_names and _root(arrow.target) != "audioop":
        return None
    for module, package, only_in_functions in ALLOWED:
        if fnmatchcase(arrow.source, module) and _root(arrow.target) == package:
            hurried = only_in_functions and arrow.at_module_level
            return f"imports {package} at once: do it inside the function that needs it" if hurried else None
    return f"imports {arrow.target} on floor {number}: down here there is the standard library only"


def _neighbours_complaint(arrow: Arrow) -> str | None:
    home = ".".join(arrow.source.split(".")[:2])
    if arrow.target == home or arrow.target.startswith((f"{home}.", *NEIGHBOURS_MAY_USE)):
        return None
    return f"imports {arrow.target}: a neighbour talks to the house over the wire, and borrows audio.py only"


def _visitors_complaint(arrow: Arrow) -> str | None:
    if arrow.source == MAY_VISIT_NEIGHBOURS and not arrow.at_module_level:
        return None
    return f"imports {arrow.target}: only flaskapp/phone/cli.py visits neighbours, inside its commands"


def _arrows(module: str, path: Path, modules: set[str]) -> Iterator[Arrow]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node, at_module_level in _imports(ast.parse(path.read_text()), True):
        for target in _targets(node, package, modules):
            yield Arrow(module, target, node.lineno, at_module_level)


def _imports(tree: ast.AST, at_module_level: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Imports for type checkers alone count as arrows too, but happen at no time."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_module_level
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        yield from _imports(node, at_module_level and not later)


def _targets(node: ast.Import | ast.ImportFrom, package: str, modules: set[str]) -> Iterator[str]:
    """`from package import name` points at package.name where that is a module, else at the package."""
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names)
        return
    base = node.module or ""
    if node.level:
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*parents, *([base] if base else [])])
    if base == "__future__":
        return
    names = {f"{base}.{each.name}" for each in node.names}
    yield from sorted(names & modules)
    if names - modules:
        yield base


def _floor(module: str) -> tuple[int, str] | None:
    for number, name, patterns in FLOORS:
        if any(fnmatchcase(module, pattern) for pattern in patterns):
            return number, name
    return None


def _is_neighbour(module: str) -> bool:
    return module.split(".")[1:2] in [[name] for name in NEIGHBOURS]


def _module_name(root: Path, path: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _root(module: str) -> str:
    return module.partition(".")[0]


def main() -> int:
    """Prints what is wrong; 1 if anything is."""
    said = complaints()
    print(*said, sep="\n", file=sys.stderr, end="\n" if said else "")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
