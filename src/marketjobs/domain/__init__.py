"""What is true whoever supplied it: records, rules, states, arithmetic.  No I/O."""
