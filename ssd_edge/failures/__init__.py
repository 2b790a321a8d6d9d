"""Where a model fails, and where its labels may be wrong: the kinds of error, and what each costs."""
