# scikit-learn has no types. These are the parts of it that examples/digits uses, by hand.
