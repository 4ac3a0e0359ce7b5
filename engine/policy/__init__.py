"""Which (k, S) a step uses: fixed settings (`fixed`) or chosen by measured cost and observed acceptance (`auto`)."""
