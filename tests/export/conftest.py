from tests.serving.conftest import made as made
