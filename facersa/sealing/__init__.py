"""The file a user keeps: what it carries, and how it is hidden."""
