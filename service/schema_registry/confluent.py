"""Our schemas by the API of Confluent's schema registry, read-only: any Avro client decodes what we publish.

A schema that is there already can be looked up and "registered": it is answered with its id, as serialisers of other producers expect.

Ids are fixed in the repository (`schemas.records.table`), so the same packet decodes against every status page there is.
Paths, media type and error codes: Confluent's Schema Registry API reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.records.table import TABLE, RegisteredSchema
from service.schema_registry.aliases import listed, registered
from service.schema_registry.same_schema import BadRequestError, schema_of, the_same

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
COMPATIBILITY = "FULL_TRANSITIVE"
"""Of our own subjects; for those of others, which are served as they are, it is NONE."""
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


def answer(value: object, status: int = 200) -> Response:
    """JSON as the registry's clients expect it."""
    return Response(orjson.dumps(value), status_code=status, media_type=MEDIA_TYPE)


def fault(code: int, message: str) -> Response:
    """An error: the first three digits of Confluent's code are the HTTP status."""
    return answer({"error_code": code, "message": message}, int(str(code)[:3]))


def routes(subjects: Mapping[str, Sequence[RegisteredSchema]], classes: Iterable[str] = ()) -> list[Route]:
    """The read-only part of the API over one table of schemas.

    Parameters
    ----------
    subjects : mapping
        Subject → its versions, the latest last.
    classes : iterable of str
        Slugs whose topics have subjects of their own in the list; any other class's is answered all the same (`aliases`).
    """
    ours = {row.id for row in TABLE}
    names = listed(subjects, classes)
    by_id = {schema.id: schema for versions in subjects.values() for schema in versions}

    def full(schema: RegisteredSchema) -> dict[str, object]:
        return {"subject": schema.subject, "version": schema.version, "id": schema.id, "schemaType": "AVRO", "schema": schema.schema_text}

    def find_all(request: Request) -> Sequence[RegisteredSchema] | Response:
        versions = registered(subjects, request.path_params["subject"])
        return versions if versions is not None else fault(40401, f"Subject '{request.path_params['subject'][:200]}' not found.")

    def find(request: Request) -> RegisteredSchema | Response:
        versions = find_all(request)
        if isinstance(versions, Response):
            return versions
        wanted = request.path_params.get("version", "latest")
        if wanted in ("latest", "-1"):
            return versions[-1]
        if not (wanted.isascii() and wanted.isdecimal() and len(wanted) < 11 and int(wanted) > 0):
            return fault(42202, f"The specified version '{wanted[:20]}' is not a valid version id: a positive integer or 'latest'.")
        found = next((schema for schema in versions if schema.version == int(wanted)), None)
        return found if found is not None else fault(40402, f"Version {wanted} not found.")

    def find_id(request: Request) -> RegisteredSchema | Response:
        number = request.path_params["id"]
        schema = by_id.get(int(number)) if number.isascii() and number.isdecimal() and len(number) < 11 else None
        return schema if schema is not None else fault(40403, f"Schema {number[:20]} not found")

    async def list_subjects(request: Request) -> Response:
        prefix = request.query_params.get("subjectPrefix", "")
        return answer([name for name in names if name.startswith(prefix.removeprefix(":*:"))])

    async def list_versions(request: Request) -> Response:
        found = find_all(request)
        return found if isinstance(found, Response) else answer([schema.version for schema in found])

    async def one_version(request: Request) -> Response:
        found = find(request)
        return found if isinstance(found, Response) else answer(full(found))

    async def version_schema(request: Request) -> Response:
        found = find(request)
        return found if isinstance(found, Response) else Response(found.schema_text, media_type=MEDIA_TYPE)

    async def one_id(request: Request) -> Response:
        found = find_id(request)
        return found if isinstance(found, Response) else answer({"schemaType": "AVRO", "schema": found.schema_text})

    async def id_schema(request: Request) -> Response:
        found = find_id(request)
        return found if isinstance(found, Response) else Response(found.schema_text, media_type=MEDIA_TYPE)

    async def id_versions(request: Request) -> Response:
        found = find_id(request)
        if isinstance(found, Response):
            return found
        used = [(name, v.version) for name in names for v in registered(subjects, name) or () if v.id == found.id]
        return answer([{"subject": name, "version": version} for name, version in used])

    async def types(request: Request) -> Response:
        return answer(["AVRO"])

    async def config(request: Request) -> Response:
        return answer({"compatibilityLevel": COMPATIBILITY})

    async def mode(request: Request) -> Response:
        return answer({"mode": "READONLY"})

    async def subject_config(request: Request) -> Response:
        found = find(request)
        if isinstance(found, Response):
            return found
        return answer({"compatibilityLevel": COMPATIBILITY if found.id in ours else "NONE"})

    async def look_up(request: Request) -> Response:
        versions = find_all(request)
        if isinstance(versions, Response):
            return versions
        try:
            found = the_same(await schema_of(request), versions)
        except BadRequestError as error:
            return fault(42201, f"Input schema is not a valid Avro schema: {error}")
        return fault(40403, "Schema not found") if found is None else answer(full(found))

    async def register(request: Request) -> Response:
        try:
            found = the_same(await schema_of(request), registered(subjects, request.path_params["subject"]) or ())
        except BadRequestError as error:
            return fault(42201, f"Input schema is not a valid Avro schema: {error}")
        if found is None:
            return fault(42205, "This registry is read-only: only what is here already can be registered.")
        return answer({"id": found.id, "version": found.version, "schemaType": "AVRO", "schema": found.schema_text})

    endpoints = {
        "/subjects": list_subjects,
        "/subjects/{subject}/versions": list_versions,
        "/subjects/{subject}/versions/{version}": one_version,
        "/subjects/{subject}/versions/{version}/schema": version_schema,
        "/schemas/types": types,
        "/schemas/ids/{id}": one_id,
        "/schemas/ids/{id}/schema": id_schema,
        "/schemas/ids/{id}/versions": id_versions,
        "/config": config,
        "/config/{subject}": subject_config,
        "/mode": mode,
    }

    async def read_only(request: Request) -> Response:
        response = fault(405, "This registry is read-only: its schemas come with the release. Only GET is answered.")
        response.headers["Allow"] = "GET, HEAD"
        return response

    # A path answers GET; every other method on the same path, and on the two that exist only for writing, is 405 in JSON.
    table = [Route(path, endpoint, methods=["GET"]) for path, endpoint in endpoints.items()]
    table += [Route("/subjects/{subject}", look_up, methods=["POST"]), Route("/subjects/{subject}/versions", register, methods=["POST"])]
    refused = [*endpoints, "/subjects/{subject}", "/compatibility/{rest:path}"]
    return table + [Route(path, read_only, methods=METHODS) for path in refused]
