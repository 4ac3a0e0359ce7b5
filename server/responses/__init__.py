"""/v1/responses: items to messages, a generation to typed events, and answers that are kept."""
