"""Python imports this at its start where the folder is on its path: see `build.environment`."""

import cuda_stub.ops  # noqa: F401
