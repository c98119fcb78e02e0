"""What every test may ask for: trained models and their bundles, made once a session."""

from __future__ import annotations

import pytest

from tests.support.training import Bundles, Trained, convert_all, train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def bundles(trained: Trained) -> Bundles:
    return convert_all(trained)
