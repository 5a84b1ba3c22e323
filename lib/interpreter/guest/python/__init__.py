"""What deploy adds to the standard library of its interpreters."""
