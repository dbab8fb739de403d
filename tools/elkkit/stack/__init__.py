"""Clients of what lies outside: files, and (in later parts) the services of the stack."""
