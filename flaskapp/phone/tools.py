"""Functions that the agent may use: a decorated Python function, its schema, its arguments checked.

``@tool`` makes a ``Tool`` of a function: name and description are the function's own, the JSON schema
follows from its types, the descriptions of arguments from its docstring's ``Args:``. See
docs/adding-a-tool.md. Source of the schema's shape: the Realtime API's ``session.tools``.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from flaskapp.phone.agent import Agent
from flaskapp.phone.directives import Directive
from flaskapp.phone.errors import ConfigurationError, PhoneError

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
MOST_CHARACTERS = 8000  # of one answer: what goes in is paid with every reply that follows
MOST_COMPLAINT = 500
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
FAILED = "The tool failed. Tell the caller that this did not work, and offer something else."
_ARGS = re.compile(r"^(Args|Arguments|Parameters):\s*$")
_SECTION = re.compile(r"^[A-Z]\w+:\s*$")
_ARGUMENT = re.compile(r"^(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


class ToolError(PhoneError):
    """A tool could not do it; the text is told to the agent, who tells the caller."""


@dataclass(frozen=True)
class CallContext:
    """The call that a tool is used in.

    Attributes:
        caller, called: as the carrier gave them; possibly empty.
    """

    call_sid: str
    caller: str
    called: str
    agent: Agent


@dataclass(frozen=True)
class Result:
    """What a tool gives back: text for the agent, and what it asks of the call itself."""

    output: str
    directive: Directive | None = None
    is_error: bool = False


@dataclass(frozen=True)
class Tool:
    """A function that the agent may use.

    Attributes:
        description: tells the engine when to use it, and what comes of it.
        parameters: JSON schema of an object.
        run: takes the call and the arguments as JSON text, gives a ``Result``, a text, or anything that
            JSON can say; raises ``ToolError`` to tell the agent why not.
        timeout_s: so long it may take; its answer is not waited for any longer.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Callable[[CallContext, str], Any]
    timeout_s: float = TIMEOUT_S

    def schema(self) -> dict[str, Any]:
        """As a Realtime session takes it."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }

    def perform(self, call: CallContext, arguments_json: str) -> Result:
        """Carry it out; whatever goes wrong becomes an answer, too."""
        try:
            return _result(self.run(call, arguments_json))
        except ToolError as error:
            return Result(_shortened(str(error), MOST_CHARACTERS), is_error=True)
        except Exception as error:  # anybody's code: neither its words nor the caller's go to the log
            at = traceback.extract_tb(error.__traceback__)[-1]
            what = (self.name, type(error).__name__, at.filename.rpartition("/")[2], at.lineno)
            log.error("Tool %s failed: %s in %s:%s", *what, extra={"call_sid": call.call_sid})
            return Result(FAILED, is_error=True)


class Toolbox:
    """The tools of one agent, by name.

    Raises:
        ConfigurationError: two of them have one name.
    """

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for each in tools:
            if each.name in self._tools:
                raise ConfigurationError(f"TOOLS: two tools are called {each.name}; rename one of them")
            self._tools[each.name] = each
        self._schemas = tuple(each.schema() for each in self._tools.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def find(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def schemas(self) -> tuple[dict[str, Any], ...]:
        """All of them, as a Realtime session takes them; the same for all who ask, not to be changed."""
        return self._schemas


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(*, name: str = "", timeout_s: float = TIMEOUT_S) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None, /, *, name: str = "", timeout_s: float = TIMEOUT_S
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a tool: ``@tool``, or ``@tool(timeout_s=3)``.

    The function is called in a thread (under gevent: a greenlet) of its own, never in a call's. Its first
    parameter may be a ``CallContext``, which is given; the engine is asked for the others.

    Raises:
        TypeError: no docstring, a parameter without a type, ``async``: what is wrong is in the text.
    """
    if function is not None:
        return _tool(function, name, timeout_s)
    return lambda decorated: _tool(decorated, name, timeout_s)


def load_tools(modules: str) -> tuple[Tool, ...]:
    """The tools of ``package.module, package.other``, in the order of their definition.

    Raises:
        ConfigurationError: a module that cannot be imported or holds no tool, or two tools of one name.
    """
    found: list[Tool] = []
    for module in (each.strip() for each in modules.split(",")):
        if module:
            found += _tools_of(module)
    Toolbox(found)
    return tuple(found)


def _tools_of(module: str) -> list[Tool]:
    try:
        names = vars(importlib.import_module(module))
    except Exception as error:  # whatever that module does when it is imported
        why = f"{type(error).__name__}: {error}"
        raise ConfigurationError(
            f"TOOLS: {module} cannot be imported ({why}); correct or remove it"
        ) from error
    found = {id(each): each for each in names.values() if isinstance(each, Tool)}  # a second name is no other
    if not found:
        raise ConfigurationError(f"TOOLS: {module} has no function that is decorated with @tool")
    return list(found.values())


def _tool(function: Callable[..., Any], name: str, timeout_s: float) -> Tool:
    own_name = name or function.__name__
    about = f"the tool {own_name}"
    description, described = _docstring(function)
    if not NAME.fullmatch(own_name):
        raise TypeError(f"{about}: a name has up to 64 of a-z, A-Z, 0-9, _ and -")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{about} is async: write a plain function, it has a thread of its own")
    if not description:
        raise TypeError(f"{about} has no docstring, which tells the engine when to use it")
    if timeout_s <= 0:
        raise TypeError(f"{about}: timeout_s must be more than 0")
    parameters = _parameters(function, about)
    takes_call = bool(parameters) and parameters[0].annotation is CallContext
    asked = parameters[1:] if takes_call else parameters
    model = _model(own_name, asked, described, about)

    def run(call: CallContext, arguments_json: str) -> Any:
        given = _arguments(model, arguments_json)
        named = {each.name: given[at] for at, each in enumerate(asked) if at in given}
        return function(call, **named) if takes_call else function(**named)

    return Tool(own_name, description, _schema(model), run, timeout_s)


def _parameters(function: Callable[..., Any], about: str) -> list[inspect.Parameter]:
    """The function's parameters with their types instead of the names of these."""
    try:
        types = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"{about}: {error}") from error
    found = []
    for each in inspect.signature(function).parameters.values():
        if each.kind not in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
            raise TypeError(f"{about}: {each} cannot be asked for by name")
        if each.name not in types:
            raise TypeError(f"{about}: the parameter {each.name} has no type")
        found.append(each.replace(annotation=types[each.name]))
    return found


def _model(
    name: str, asked: list[inspect.Parameter], described: Mapping[str, str], about: str
) -> type[BaseModel]:
    """What the arguments are held against; its fields are numbered, for a parameter may have any name."""
    fields: dict[str, Any] = {}
    for at, each in enumerate(asked):
        words: dict[str, Any] = {"description": described[each.name]} if each.name in described else {}
        default = ... if each.default is each.empty else each.default
        fields[f"argument_{at}"] = (Annotated[each.annotation, Field(alias=each.name, **words)], default)
    config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    try:
        return create_model(name, __config__=config, **fields)
    except PydanticUserError as error:
        raise TypeError(f"{about}: {error.message}") from error


def _arguments(model: type[BaseModel], arguments_json: str) -> dict[int, Any]:
    """The arguments that were given, by their parameter's place.

    Raises:
        ToolError: they are not what was asked for; the text says in which way.
    """
    try:
        read = model.model_validate_json(arguments_json.strip() or "{}")
    except ValidationError as error:
        wrong = "; ".join(
            ": ".join(filter(None, [".".join(map(str, each["loc"])), each["msg"]]))
            for each in error.errors(include_url=False, include_input=False)
        )
        raise ToolError(_shortened(f"Not done, the arguments are wrong. {wrong}", MOST_COMPLAINT)) from error
    return {int(name.rpartition("_")[2]): getattr(read, name) for name in read.model_fields_set}


class _Plain(GenerateJsonSchema):
    """Without titles, which say what names say already; one choice is an ``enum`` as several are."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def literal_schema(self, schema: Any) -> dict[str, Any]:
        made = super().literal_schema(schema)
        if "const" in made:
            made["enum"] = [made.pop("const")]
        return made


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=_Plain)
    for each in (schema, *schema.get("$defs", {}).values()):
        each.pop("title", None)
    return {"properties": {}, **schema}


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """What it is for - all before the first section - and what its arguments are, as Google writes them."""
    lines = (inspect.getdoc(function) or "").splitlines()
    first = next((at for at, line in enumerate(lines) if _SECTION.match(line)), len(lines))
    start = next((at for at, line in enumerate(lines) if _ARGS.match(line)), len(lines))
    section = []
    for line in lines[start + 1 :]:
        if line and not line.startswith(" "):
            break
        section.append(line)
    return " ".join(" ".join(lines[:first]).split()), _described(inspect.cleandoc("\n".join(["", *section])))


def _described(section: str) -> dict[str, str]:
    """``name: words``; what is further in goes on with them, and ``a, b: words`` are two."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line.startswith(" ") and names:
            for name in names:
                found[name].append(line.strip())
            continue
        several, _, words = line.partition(":")
        begins = [_ARGUMENT.match(f"{each.strip()}:{words}") for each in several.split(",")]
        names = [each[1] for each in begins if each]
        found.update({name: [words.strip()] for name in names})
    return {name: " ".join(filter(None, words)) for name, words in found.items() if any(words)}


_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


def _result(given: Any) -> Result:
    if isinstance(given, Result):
        return Result(_shortened(given.output, MOST_CHARACTERS), given.directive, given.is_error)
    text = given if isinstance(given, str) else _ANYTHING.dump_json(given, fallback=str).decode()
    return Result(_shortened(text, MOST_CHARACTERS))


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]} (cut here: {len(text)} characters in all)"
