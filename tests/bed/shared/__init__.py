"""A fleet's shared source in tests: a real object store, a proxy that breaks what passes, an API with changes."""
