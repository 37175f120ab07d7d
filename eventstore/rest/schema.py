"""The OpenAPI schema of the edge: written from the views, so that it cannot fall behind them.

Adds to every operation what the edge adds to every request: the correlation id, the idempotency key of a POST, the
required permission, and the problems it may answer with. Frozen Structs, the answers of services and queries, become
component schemas as they are. `REST_FRAMEWORK["DEFAULT_SCHEMA_CLASS"]` names `EdgeSchema`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent, get_class, get_doc
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import Direction, OpenApiParameter

from eventstore.rest.answers import REPLAYED
from eventstore.rest.commands import IDEMPOTENCY_KEY, MAX_KEY_LENGTH
from eventstore.rest.correlation import HEADER as CORRELATION_ID
from eventstore.rest.freshness import MAX_PREFERRED_WAIT_SECONDS
from eventstore.rest.permissions import PUBLIC, required_permission
from eventstore.rest.problems import KINDS, PROBLEM_JSON, Problem
from eventstore.rest.requests import RequestSerializer

_Schema = dict[str, Any]
_REF: Final = "#/components/schemas/{name}"
_REFUSAL: Final = "A rule of the business forbids it; `code` says which."

_CORRELATION: Final = OpenApiParameter(
    CORRELATION_ID,
    OpenApiTypes.STR,  # nothing is refused for a wrong one
    OpenApiParameter.HEADER,
    description="One UUID for a whole story; made when it is missing or is none, always returned.",
)
_CORRELATION_RETURNED: Final = OpenApiParameter(
    CORRELATION_ID,
    OpenApiTypes.UUID,
    OpenApiParameter.HEADER,
    response=True,
    description="The correlation id that was taken or made.",
)
_KEY: Final = OpenApiParameter(
    IDEMPOTENCY_KEY,
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": r"^[\x21-\x7e]+$"},
    OpenApiParameter.HEADER,
    required=True,
    description="Made by you, unique to what you ask for. A repeat with the same key is answered with the first"
    " success, and nothing happens twice.",
)
_REPLAYED: Final = OpenApiParameter(
    REPLAYED,
    {"type": "string", "const": "true"},
    OpenApiParameter.HEADER,
    response=[200, 201, 202],
    description="Present when this is the answer to an earlier request with this key.",
)

# Headers that some operations take or give; their views name them.
LOCATION: Final = OpenApiParameter(
    "Location",
    OpenApiTypes.URI_REF,
    OpenApiParameter.HEADER,
    response=[200, 201, 202],
    description="Where what was made can be read.",
)
IF_MATCH: Final = OpenApiParameter(
    "If-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The `ETag` of what you have seen; 412 when it has changed since.",
)
IF_NONE_MATCH: Final = OpenApiParameter(
    "If-None-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The `ETag` of what you have; 304 when that is still the answer.",
)
ETAG: Final = OpenApiParameter(
    "ETag",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=[200],
    description="Changes whenever the answer would.",
)
PREFER_WAIT: Final = OpenApiParameter(
    "Prefer",
    {"type": "string", "examples": ["wait=5"]},
    OpenApiParameter.HEADER,
    description=f"`wait=SECONDS` (RFC 7240), at most {MAX_PREFERRED_WAIT_SECONDS}.",
)
PREFERENCE_APPLIED: Final = OpenApiParameter(
    "Preference-Applied",
    {"type": "string", "examples": ["wait=5"]},
    OpenApiParameter.HEADER,
    response=[200, 202],
    description="How long the answer was willing to wait.",
)


class EdgeSchema(AutoSchema):
    """How an `ApiView` describes itself."""

    def get_override_parameters(self) -> list[Any]:
        """The headers that every operation takes and gives."""
        headers = [_CORRELATION, _CORRELATION_RETURNED]
        return [*headers, _KEY, _REPLAYED] if self._takes_key() else headers

    def get_summary(self) -> str | None:
        """The first line of the handler's docstring."""
        return self._docstring().partition("\n")[0].rstrip(".") or None

    def get_description(self) -> str:  # type: ignore[override]
        """The rest of the handler's docstring."""
        return self._docstring().partition("\n")[2].strip()

    def get_extensions(self) -> _Schema:
        """Which permission the operation requires."""
        return {"x-required-permission": required_permission(self.view, self.method)}

    def _postprocess_serializer_schema(self, schema: _Schema, serializer: Any, direction: Direction) -> _Schema:
        """A request's fields are all there are."""
        described: _Schema = super()._postprocess_serializer_schema(  # type: ignore[no-untyped-call]
            schema, serializer, direction
        )
        if isinstance(serializer, RequestSerializer):
            described["additionalProperties"] = False
        return described

    def _docstring(self) -> str:
        found: str = get_doc(getattr(self.view, self.method.lower(), None))
        return found

    def _takes_key(self) -> bool:
        return self.method == "POST" and getattr(self.view, "takes_idempotency_key", True)

    def _get_response_bodies(self, direction: Direction = "response") -> _Schema:
        bodies: _Schema = super()._get_response_bodies(direction)
        if IF_NONE_MATCH in self.get_override_parameters():
            bodies["304"] = {"description": "It is what you have."}
        problem = self.resolve_serializer(Problem, direction).ref  # type: ignore[arg-type]
        for body in bodies.values():
            body["description"] = body["description"] or self.get_summary()
        for status in sorted(self._problem_statuses()):
            bodies[str(status)] = {
                "description": _description(status),
                "content": {PROBLEM_JSON: {"schema": problem}},
            }
        return bodies

    def _problem_statuses(self) -> set[int]:
        """The statuses that this operation may well answer with; any may answer 429, 500 or 503."""
        statuses = {400, 401, 406, 429, 500, 503}
        if required_permission(self.view, self.method) != PUBLIC:
            statuses.add(403)
        if "{" in self.path:
            statuses.add(404)
        if self.method in ("POST", "PUT", "PATCH"):
            statuses |= {408, 413, 415}
        if self._takes_key():
            statuses |= {409, 422}
        if self.method == "PATCH":
            statuses |= {409, 422}
        if IF_MATCH in self.get_override_parameters():
            statuses.add(412)
        return statuses


class StructExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """A frozen Struct as a component schema."""

    target_class = msgspec.Struct
    match_subclasses = True

    def get_name(self, auto_schema: AutoSchema, direction: Direction) -> str:
        """The class's name."""
        name: str = get_class(self.target).__name__
        return name

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> _Schema:
        """The schema; the Structs inside become components of their own."""
        target = get_class(self.target)
        _, components = msgspec.json.schema_components([target], ref_template=_REF)
        structs = _structs_inside(target)
        for name, schema in components.items():
            if name in structs:
                _always_present(schema, structs[name])
            if name != target.__name__:
                auto_schema.registry.register_on_missing(
                    ResolvedComponent(  # type: ignore[no-untyped-call]
                        name, ResolvedComponent.SCHEMA, schema=schema, object=structs.get(name, name)
                    )
                )
        found: _Schema = components[target.__name__]
        return found


def _structs_inside(target: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """The Struct and those that it holds, by name."""
    found: dict[str, type[msgspec.Struct]] = {}

    def visit(kind: Any) -> None:
        if isinstance(kind, msgspec.inspect.StructType):
            if kind.cls.__name__ not in found:
                found[kind.cls.__name__] = kind.cls
                for field in kind.fields:
                    visit(field.type)
        elif isinstance(kind, msgspec.inspect.UnionType):
            for member in kind.types:
                visit(member)
        elif isinstance(kind, msgspec.inspect.CollectionType):
            visit(kind.item_type)

    visit(msgspec.inspect.type_info(target))
    return found


def _always_present(schema: _Schema, struct: type[msgspec.Struct]) -> None:
    """An answer leaves a field out only where it may be UNSET; a default is for whoever builds it."""
    fields = msgspec.structs.fields(struct)
    schema["required"] = [field.encode_name for field in fields if field.default is not msgspec.UNSET]
    for described in schema.get("properties", {}).values():
        described.pop("default", None)


def _description(status: int) -> str:
    codes = [f"`{code}`: {kind.title}" for code, kind in KINDS.items() if kind.status == status]
    return "\n\n".join([_REFUSAL, *codes] if status == 422 else codes)
