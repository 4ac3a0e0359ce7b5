"""Output that must match a JSON schema, a regular expression, a choice or a grammar, drafts or no drafts."""
