"""`hub new`: a working project for a model of one's own, made from the files in `template`."""
