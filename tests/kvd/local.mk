# The example server, both builds of it, driven by redis-cli and redis-benchmark.
TESTS += tests/kvd/test_kvd
EXTRA_DIST += tests/kvd/test_kvd
