"""Passwords, and every cipher that edits a code with one."""
