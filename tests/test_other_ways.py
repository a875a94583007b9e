"""The other half of the table of ways in test_every_way.py, so that two processes share it."""
import pytest

from test_every_way import ELSEWHERE, assert_right, pairs, way         # noqa: F401 (a fixture)


@pytest.mark.parametrize('name, case', pairs(ELSEWHERE), ids=str)
def test_way(way, name, case):                                         # noqa: F811
    assert_right(way, name, case)
