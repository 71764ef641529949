"""A coverage-guided fuzzer of everything that opens a capture or a ticket: docs/fuzzing.md."""
