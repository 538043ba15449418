"""Real servers, and checks that several of them must pass, for the tests."""

import pytest

pytest.register_assert_rewrite("servers.store_checks", "servers.training")
