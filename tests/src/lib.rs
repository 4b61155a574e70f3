//! End-to-end tests: real daemons, real processes, loopback, temporary directories.
