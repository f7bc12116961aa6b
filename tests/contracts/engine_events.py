"""Every event that a Realtime server may send, built from the ``openai`` package's typed models."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

server_event: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
WORD = "QUJD"  # a word, and base64 as well


def models() -> list[type[BaseModel]]:
    """The event types, one for each name that an event may have."""
    return list(_members(RealtimeServerEvent))


def _members(annotation: Any) -> Iterator[type[BaseModel]]:
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        for each in get_args(annotation):
            yield from _members(each)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation


def full(model: type[BaseModel], depth: int = 8) -> dict[str, Any]:
    """An event with every field that the model knows."""
    return {
        field.alias or name: value(field.annotation, depth)
        for name, field in model.model_fields.items()
        if depth or field.is_required()
    }


def value(annotation: Any, depth: int) -> Any:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return parts[0]
    if origin is Annotated:
        return value(parts[0], depth)
    if origin in (Union, types.UnionType):
        return value(next(each for each in parts if each is not type(None)), depth)
    if origin is list:
        return [value(parts[0], depth - 1)] if depth > 1 else []
    if origin is dict:
        return {WORD: value(parts[1], depth - 1)}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return full(annotation, max(depth - 1, 0))
    return {str: WORD, int: 5, float: 1.5, bool: True}.get(annotation, WORD)


def with_nulls(model: type[BaseModel], event: dict[str, Any]) -> dict[str, Any]:
    """The same event with null in every field that may be null, at any depth."""
    nulled = {}
    for name, field in model.model_fields.items():
        if (field.alias or name) not in event:
            continue
        may_be_null = type(None) in get_args(field.annotation)
        inner = field.annotation
        is_model = isinstance(inner, type) and issubclass(inner, BaseModel)
        own = event[field.alias or name]
        nulled[field.alias or name] = None if may_be_null else with_nulls(inner, own) if is_model else own
    return nulled


def least(model: type[BaseModel]) -> dict[str, Any]:
    """The same event with nothing that may be left out."""
    return full(model, depth=0)
