"""A CUDA device without a GPU, to run torch's real CUDA code on any machine.

Real are torch's dispatch, autograd, autocast and caching allocator, growing segments included: the
driver below them, in C, hands out host memory and keeps books. Not real are values (kernels do
nothing, so all is 0), time, and cuDNN and cuBLAS, which `ops` replaces by their allocations.

A process has to be started for it (`build.environment`). `server` runs functions of tests in such
processes; the fixture `stub` of conftest.py gives it to them.
"""
