"""The peers, each as its documentation shows it. These modules run in their own environment, without hub."""
