"""Where arms differ: what each showed, in parts by what its own training log could tell of it."""
