"""What `tidar doctor` looks at; one file per subject, imported only when the command runs."""
