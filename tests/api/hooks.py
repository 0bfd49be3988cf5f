"""What makes a request good and the description has no words for. Only cases that are meant to be good are touched."""

import schemathesis
from schemathesis.generation import GenerationMode


def is_good(case):
    return case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE


@schemathesis.hook
def filter_case(context, case):
    """Days are for temporary files only."""
    body = case.body
    return not (
        is_good(case)
        and isinstance(body, dict)
        and "ttl_days" in body
        and body.get("retention_policy") != "temporary"
    )


@schemathesis.hook
def before_call(context, case, kwargs):
    """A cursor is what the page before gave, with the same order. Other cases share the object, so a copy is changed."""
    if is_good(case) and isinstance(case.query, dict):
        case.query = {name: value for name, value in case.query.items() if name != "cursor"}
