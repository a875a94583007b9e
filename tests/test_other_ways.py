"""The other half of the table of ways in test_every_way.py, so that two processes share it."""
import pytest

from test_every_way import CASES, ELSEWHERE, assert_right, way         # noqa: F401 (a fixture)


@pytest.mark.parametrize('case', CASES, ids=str)
@pytest.mark.parametrize('name', ELSEWHERE)
def test_way(way, name, case):                                         # noqa: F811
    assert_right(way, name, case)
