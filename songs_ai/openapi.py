"""What the generated API description leaves out and adds."""

from __future__ import annotations

from typing import Any

_PROBLEM = {
    "application/json": {"schema": {"$ref": "#/components/schemas/ProblemOutput"}},
}
#: Error answers that any call may give, and when.
_EVERYWHERE = {
    "400": "The request can't be read or holds a wrong value; `errors` names the fields.",
    "401": "Keys are configured and none, or a wrong one, was sent.",
    "403": "No keys are configured and the caller's network is not trusted.",
    "405": "Another method is wanted.",
    "503": "This process is stopping, or has never seen a catalog; ask again after `Retry-After`.",
}
_WITH_BODY = {
    "413": "The body is larger than 256 KiB.",
    "415": "The body must be `application/json`.",
}
_WITH_NAME = {"404": "There is nothing with that name."}


def documented(endpoints: list[Any], **_: Any) -> list[Any]:
    """Every address answers with a trailing slash too; it is described once."""
    return [endpoint for endpoint in endpoints if not endpoint[0].endswith("/")]


def with_errors_and_keys(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add what holds for every call: its error answers, and the keys that open it."""
    for path, operations in result.get("paths", {}).items():
        for method, operation in operations.items():
            _add_errors(operation, has_body=method == "post", has_name="{" in path)
    result.setdefault("components", {})["securitySchemes"] = {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "Bearer": {"type": "http", "scheme": "bearer"},
    }
    # Keys are needed only from networks that are not trusted, so none is the first alternative.
    result["security"] = [{}, {"ApiKey": []}, {"Bearer": []}]
    return result


def _add_errors(operation: dict[str, Any], *, has_body: bool, has_name: bool) -> None:
    told = _EVERYWHERE | (_WITH_BODY if has_body else {}) | (_WITH_NAME if has_name else {})
    responses = operation["responses"]
    for status, description in told.items():
        responses.setdefault(status, {"description": description, "content": _PROBLEM})
    operation["responses"] = dict(sorted(responses.items()))
    operation.pop("security", None)
