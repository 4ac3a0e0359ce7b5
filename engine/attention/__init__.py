"""Window attention over a paged prefix: one interface (`base`), one file per back end."""
