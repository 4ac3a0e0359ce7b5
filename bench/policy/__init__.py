"""`python -m bench.policy`: drafting policies on recorded and adversarial acceptance, against tables of step cost."""
