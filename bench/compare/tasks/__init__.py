"""Small tasks with a right answer, one file each behind one interface (`base`)."""
