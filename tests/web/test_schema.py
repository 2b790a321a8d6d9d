"""The endpoints against their OpenAPI document, with requests that nobody thought of."""

from __future__ import annotations

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from schemathesis.checks import load_all_checks, not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.slow

ENDLESS = r"^/api/(events|stream)$"
SLOW = r"^/login$"  # each wrong token waits a second


def test_no_request_breaks_the_page_or_its_promises(run_page):
    load_all_checks()
    running = run_page()
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    tried = 0
    for found in schema.exclude(path_regex=ENDLESS).exclude(path_regex=SLOW).get_all_operations():
        operation = found.ok()

        @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def attempt(case):
            nonlocal tried
            tried += 1
            case.call_and_validate(
                checks=[
                    not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                ],
                timeout=30,
            )

        attempt()
    assert tried >= 8
    assert running.said == []
    number = running.views["belt"].newest.number
    assert number > 0
