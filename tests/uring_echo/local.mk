# The example server on io_uring, beside a small client.
TESTS += tests/uring_echo/test_uring_echo
EXTRA_DIST += tests/uring_echo/client.py tests/uring_echo/test_uring_echo \
	tests/uring_echo/without_uring.py
