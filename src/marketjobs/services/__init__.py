"""In what order: one use case a function, partial failure, transactions."""
